"""The reference model's parts: a tokenizer for any text, a model of a few million parameters."""

from __future__ import annotations

import pytest
import torch

from erc.data.conversation import Conversation, Utterance
from erc.data.corpora import Corpus
from erc.emotions import load_emotion_set
from erc.llm.builder import PromptBuilder
from erc.llm.encoding import PromptEncoder
from erc.llm.families import Shape
from erc.llm.reference import build_model, build_tokenizer, comment_chats, comment_prompts, dialogue_texts, labelled_comments
from erc.llm.tasks import TaskPrompts

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


def test_labelled_comments_are_those_of_one_ekman_emotion():
    """Admiration and joy are both joy; grief and joy are two emotions, and no emotion is none."""
    said = [("a", ("admiration", "joy")), ("b", ("grief", "joy")), ("c", ("neutral",)), ("d", ())]
    talks = tuple(Conversation(text, (Utterance(text, 0, "Ana", text, emotions=emotions),)) for text, emotions in said)
    corpus = Corpus(name="goemotions", split="train", conversations=talks, emotion_set="goemotions", edition="full", anomalies=(), files=())
    assert labelled_comments(corpus) == [("a", "joy"), ("c", "neutral")]


def test_comment_prompts_ask_about_the_last_turn_and_know_its_emotion(tokenizer):
    comments = [(f"comment number {i}", "joy" if i % 2 else "fear") for i in range(8)]
    prompts = TaskPrompts(PromptBuilder(encoder=PromptEncoder(tokenizer), labels=load_emotion_set("ekman").labels))
    made = comment_prompts(comments, prompts, count=6, seed=1)
    assert len(made) == 6
    for one in made:
        asked = prompts.builder.encoder.text(one.prompt)
        target = next(text for text, _ in comments if f'"{text}"' in asked)
        assert one.answer == dict(comments)[target]
        assert asked.index(target) < asked.index(f'"{target}"')  # it stands in the dialogue, and the question repeats it
    assert [one.prompt for one in comment_prompts(comments, prompts, count=6, seed=1)] == [one.prompt for one in made]


def test_labelled_comments_in_another_set_are_named_by_its_labels():
    said = [("a", ("joy",)), ("b", ("anger",)), ("c", ("neutral",))]
    talks = tuple(Conversation(text, (Utterance(text, 0, "Ana", text, emotions=emotions),)) for text, emotions in said)
    corpus = Corpus(name="goemotions", split="train", conversations=talks, emotion_set="goemotions", edition="full", anomalies=(), files=())
    assert labelled_comments(corpus, "emorynlp") == [("a", "joyful"), ("b", "mad"), ("c", "neutral")]


def test_comment_chats_answer_every_prompt_under_one_instruction(tokenizer):
    comments = [(f"comment number {i}", "joy" if i % 2 else "fear") for i in range(8)]
    encoder = PromptEncoder(tokenizer)
    prompts = TaskPrompts(PromptBuilder(encoder=encoder, labels=load_emotion_set("ekman").labels))
    made = comment_prompts(comments, prompts, count=5, seed=1, before=0)
    first, second = comment_chats(made, encoder, exchanges=3)
    assert [chat.count("<|im_start|>system") for chat in (first, second)] == [1, 1]
    assert [chat.count("<|im_start|>assistant") for chat in (first, second)] == [3, 2]
    alone = encoder.text(made[0].prompt) + made[0].answer + "<|im_end|>"
    assert first.startswith(alone)  # the first exchange reads as the prompt alone does
    for chat, part in ((first, made[:3]), (second, made[3:])):
        places = [chat.index(one.prompt.user + f"<|im_end|>\n<|im_start|>assistant\n{one.answer}<|im_end|>") for one in part]
        assert places == sorted(places)
