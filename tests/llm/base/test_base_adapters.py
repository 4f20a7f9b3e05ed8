"""Which base an adapter is loaded over: known by its weights, wherever they lie now."""

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

FAST = InferenceSettings(precision="fp32", uncertainty="off")
SHORT = talk("a", ANA[:3])


@pytest.fixture(autouse=True)
def shelf(tiny_shelf, monkeypatch):
    monkeypatch.setenv("CONVEMO_MODELS", str(tiny_shelf))
    monkeypatch.setattr(loading, "SHARED_MODEL", "tiny-utterance")


@pytest.fixture
def own(adapter, tmp_path):
    """A copy of the adapter, to change."""
    return shutil.copytree(adapter, tmp_path / "own")


def test_adapter_over_another_base_is_refused(own):
    with pytest.raises(ArtefactError, match="llm:FOLDER --adapter"):
        load_predictor("llm:another/base", settings=FAST, adapter=own)
    replace(AdapterRecord.load(own), base="made/tiny", extra={}).save(own)  # of the hub
    with pytest.raises(ConfigError, match=r"was trained over made/tiny, not over another/base"):
        load_predictor("llm:another/base", settings=FAST, adapter=own)


def test_base_is_known_by_its_weights_and_not_by_its_place(own, tiny_lm_dir, tmp_path):
    """A folder that was moved serves as before; other weights under the recorded path do not."""
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
