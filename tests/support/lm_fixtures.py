"""Fixtures of tiny causal language models, for all tests."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from lm_parts import build_model, build_tokenizer

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase


@pytest.fixture(scope="session")
def plain_tokenizer() -> PreTrainedTokenizerBase:
    return build_tokenizer(chat=False)


@pytest.fixture(scope="session")
def chat_tokenizer() -> PreTrainedTokenizerBase:
    return build_tokenizer(chat=True)


@pytest.fixture(scope="session")
def tiny_lm() -> PreTrainedModel:
    return build_model()


@pytest.fixture(scope="session")
def tiny_lm_dir(
    tmp_path_factory: pytest.TempPathFactory,
    tiny_lm: PreTrainedModel,
    chat_tokenizer: PreTrainedTokenizerBase,
) -> Path:
    folder = tmp_path_factory.mktemp("lm") / "tiny"
    tiny_lm.save_pretrained(folder)
    chat_tokenizer.save_pretrained(folder)
    return folder
