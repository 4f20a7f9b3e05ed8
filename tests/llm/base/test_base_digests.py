"""Digests that distinguish folders of weights."""

from __future__ import annotations

import shutil

import numpy as np
import pytest
from lm_parts import CHAT_TEMPLATE, build_tokenizer
from safetensors.numpy import save_file

from erc.llm.base import digests
from erc.llm.base.digests import known_weights, reading_digest, weights_digest
from erc.llm.prompts.encoding import PromptEncoder


@pytest.fixture(params=[2**28, 100], ids=["whole", "sampled"])
def folder(tmp_path, request, monkeypatch):
    monkeypatch.setattr(digests, "_WHOLE", request.param)
    monkeypatch.setattr(digests, "_SLICE", 256)
    made = tmp_path / "tiny"
    made.mkdir()
    (made / "adapter_config.json").write_text('{"r": 4}')
    save_file({"a": np.arange(5000, dtype=np.float32)}, made / "adapter_model.safetensors")
    return made


def test_digest_depends_on_the_content_of_a_folder(folder, tmp_path):
    assert weights_digest(shutil.copytree(folder, tmp_path / "elsewhere")) == weights_digest(folder)
    assert len(weights_digest(folder)) == 12


@pytest.mark.parametrize("change", ["trained again", "other scale", "other name", "other shape"])
def test_digest_differs_for_folders_of_the_same_name(folder, tmp_path, change):
    other, values = tmp_path / "other" / folder.name, np.arange(5000, dtype=np.float32)
    shutil.copytree(folder, other)
    weights = other / "adapter_model.safetensors"
    if change == "trained again":
        save_file({"a": values + 1e-3}, weights)
    elif change == "other shape":
        save_file({"a": values.reshape(50, 100)}, weights)
    elif change == "other name":
        weights.rename(other / "model.safetensors")
    else:
        (other / "adapter_config.json").write_text('{"r": 8}')
    assert weights_digest(other) != weights_digest(folder)


def test_folder_without_weights_has_no_digest(tmp_path):
    assert weights_digest(tmp_path) is None
    assert known_weights("Organisation/Model") is None


def test_known_weights_include_base_and_adapter(folder, tmp_path):
    base = shutil.copytree(folder, tmp_path / "base")
    (base / "adapter_config.json").unlink()
    assert known_weights("Organisation/Model", folder) == weights_digest(folder)
    assert len({known_weights(str(base), folder), known_weights(str(base)), weights_digest(folder)}) == 3


def reading(change=lambda tokenizer: None, *, chat=True):
    tokenizer = build_tokenizer(chat=chat)
    change(tokenizer)
    return reading_digest(PromptEncoder(tokenizer))


def test_reading_digest_does_not_depend_on_earlier_use(tmp_path):
    tokenizer = build_tokenizer(chat=True)
    before = reading_digest(PromptEncoder(tokenizer))
    tokenizer(["one", "two more"], padding=True, truncation=True, max_length=3)
    tokenizer.save_pretrained(tmp_path)
    assert (
        before
        == reading_digest(PromptEncoder(tokenizer))
        == reading_digest(PromptEncoder(type(tokenizer).from_pretrained(tmp_path)))
    )
    assert len(before) == 12


def test_reading_digest_differs_for_templates_and_tokenizers():
    from tokenizers import normalizers
    from tokenizers.processors import TemplateProcessing

    def template(tokenizer):
        tokenizer.chat_template = CHAT_TEMPLATE.replace("assistant", "model")

    def token(tokenizer):
        tokenizer.add_tokens(["<extra>"])

    def lower_case(tokenizer):
        tokenizer.backend_tokenizer.normalizer = normalizers.Lowercase()

    def beginning(tokenizer):
        tokenizer.backend_tokenizer.post_processor = TemplateProcessing(
            single="<s> $A", pair="<s> $A $B", special_tokens=[("<s>", 1)]
        )

    found = [
        reading(),
        reading(template),
        reading(token),
        reading(lower_case),
        reading(chat=False),
        reading(beginning, chat=False),
    ]
    assert len(set(found)) == 6
