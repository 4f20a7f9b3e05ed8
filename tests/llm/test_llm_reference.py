"""The reference model's parts: a tokenizer for any text, a model of a few million parameters."""

from __future__ import annotations

import pytest
import torch

from erc.data.conversation import Conversation, Utterance
from erc.llm.encoding import PromptEncoder
from erc.llm.families import Shape
from erc.llm.reference import build_model, build_tokenizer, dialogue_texts

TEXTS = ["Monica: There is nothing to tell!\nJoey: Come on.", "Ross: Hi."] * 5


@pytest.fixture(scope="module")
def tokenizer():
    return build_tokenizer(TEXTS, vocab=300)


def test_tokenizer_writes_any_text_back(tokenizer):
    text = "Ναί, 你好 👩\u200d🚀 <b>\tx"
    assert tokenizer.decode(tokenizer(text)["input_ids"]) == text


def test_tokenizer_serves_the_chat_path(tokenizer):
    encoder = PromptEncoder(tokenizer)
    assert encoder.system_role
    assert encoder.answer_ids("joy")[-1] == tokenizer.convert_tokens_to_ids("<|im_end|>")


def test_model_has_a_few_million_parameters():
    with torch.device("meta"):  # counting needs no weights
        model = build_model(4096)
    assert 2_000_000 < Shape.of(model.config).parameters == sum(p.numel() for p in model.parameters()) < 4_500_000


def test_dialogue_is_lines_of_names_and_texts():
    talk = Conversation("c", (Utterance("0", 0, "Ross", "Hi."), Utterance("1", 1, "Joey", "Hey!")))
    assert dialogue_texts([talk, Conversation("empty", ())]) == ["Ross: Hi.\nJoey: Hey!"]
