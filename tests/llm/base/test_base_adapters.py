"""An adapter identifies its base by the weights and loads its recorded prompt versions."""

from __future__ import annotations

import shutil
from dataclasses import replace

import pytest
from safetensors.torch import load_file, save_file
from tiny_emonet import ANA, talk

from erc.errors import ArtefactError, ConfigError
from erc.inference import loading
from erc.inference.loading import load_predictor
from erc.inference.scorers.settings import InferenceSettings
from erc.llm.base.adapters import AdapterRecord
from erc.llm.prompts import template
from erc.llm.prompts.builder import PromptBuilder
from erc.llm.prompts.encoding import PromptEncoder
from erc.llm.prompts.template import PromptTemplate
from erc.resources import resource_dir

FAST = InferenceSettings(precision="fp32", uncertainty="off")
SHORT = talk("a", ANA[:3])


@pytest.fixture(autouse=True)
def shelf(tiny_shelf, monkeypatch):
    monkeypatch.setenv("CONVEMO_MODELS", str(tiny_shelf))
    monkeypatch.setattr(loading, "SHARED_MODEL", "tiny-utterance")


@pytest.fixture
def own(adapter, tmp_path):
    """A copy of the adapter that a test may change."""
    return shutil.copytree(adapter, tmp_path / "own")


def test_adapter_over_another_base_is_refused(own):
    with pytest.raises(ArtefactError, match="llm:FOLDER --adapter"):
        load_predictor("llm:another/base", settings=FAST, adapter=own)
    replace(AdapterRecord.load(own), base="made/tiny", extra={}).save(own)  # a hub revision
    with pytest.raises(ConfigError, match=r"was trained over made/tiny, not over another/base"):
        load_predictor("llm:another/base", settings=FAST, adapter=own)


def test_base_is_identified_by_its_weights_and_not_by_its_path(own, tiny_lm_dir, tmp_path):
    """A moved folder is accepted; other weights under the recorded path are refused."""
    moved = tmp_path / "moved"
    shutil.copytree(tiny_lm_dir, moved)
    here = load_predictor(f"llm:{own}", settings=FAST).label([SHORT])[0]
    there = load_predictor(f"llm:{moved}", settings=FAST, adapter=own)
    assert [one.probabilities for one in there.label([SHORT])[0].predictions] == [
        one.probabilities for one in here.predictions
    ]
    assert not there.scorer.model.remarks
    replace(AdapterRecord.load(own), base=str(moved)).save(own)
    weights = load_file(moved / "model.safetensors")
    name = next(iter(weights))
    save_file({**weights, name: weights[name] + 1e-3}, moved / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ArtefactError, match="other weights"):
        load_predictor(f"llm:{own}", settings=FAST)
    shutil.rmtree(moved)
    with pytest.raises(ArtefactError, match="no folder here"):
        load_predictor(f"llm:{own}", settings=FAST)


# --- prompt versions


@pytest.fixture
def prompt_folder(tmp_path, monkeypatch):
    """A copy of the shipped prompts, to which tests add versions."""
    folder = tmp_path / "prompts"
    shutil.copytree(resource_dir("prompts"), folder)
    monkeypatch.setattr(template, "resource_dir", lambda name: folder)
    return folder


def add_version(folder, name, version):
    """Adds a version of a prompt with a text that differs from the newest version."""
    newest = PromptTemplate.load(name)
    text = newest.path.read_text(encoding="utf-8").replace(
        f"version: {newest.version}\n", f"version: {version}\n"
    )
    assert "[dialogue]" in text or "[example]" in text
    path = folder / name / f"v{version}.yaml"
    path.write_text(text.replace("dialogue]", "talk]").replace("example]", "sample]"), encoding="utf-8")


def test_adapter_keeps_its_prompt_version_after_newer_ones_are_added(adapter, prompt_folder):
    recorded = AdapterRecord.load(adapter).prompt
    for name in ("erc", "few_shot"):
        add_version(prompt_folder, name, 9)
    assert PromptTemplate.load("erc").id == "erc/v9"
    builder = load_predictor(f"llm:{adapter}", settings=FAST).scorer.model.builder
    assert builder.prompt_id == recorded == "erc/v2+few_shot/v2"
    assert "[dialogue]" in builder.content_free().user


def test_adapter_recorded_with_a_newer_prompt_version_loads_it(adapter, own, prompt_folder, chat_tokenizer):
    for name in ("erc", "few_shot"):
        add_version(prompt_folder, name, 9)
    newest = PromptBuilder(encoder=PromptEncoder(chat_tokenizer), labels=("joy",))
    record = AdapterRecord.load(own)
    replace(record, prompt=newest.prompt_id, prompt_sha256=newest.sha256).save(own)
    builder = load_predictor(f"llm:{own}", settings=FAST).scorer.model.builder
    assert builder.prompt_id == "erc/v9+few_shot/v9"
    assert "[talk]" in builder.content_free().user


def test_adapter_with_a_changed_prompt_file_is_refused(adapter, prompt_folder):
    path = prompt_folder / "erc" / "v2.yaml"
    path.write_text(path.read_text(encoding="utf-8") + "\n", encoding="utf-8")
    with pytest.raises(
        ArtefactError, match=r"erc/v2\+few_shot/v2 here is not the one .*train the adapter again"
    ):
        load_predictor(f"llm:{adapter}", settings=FAST)


@pytest.mark.parametrize("prompt", ["erc/v7+few_shot/v2", "erc", "erc/v2", "../erc/v2+few_shot/v2"])
def test_adapter_with_a_missing_prompt_is_refused(prompt, own):
    replace(AdapterRecord.load(own), prompt=prompt).save(own)
    with pytest.raises(ArtefactError, match=r"adapter's prompt '.*' cannot be loaded"):
        load_predictor(f"llm:{own}", settings=FAST)
