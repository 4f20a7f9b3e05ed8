"""The reference model's parts: a tokenizer for any text, a model of a few million parameters."""

from __future__ import annotations

import pytest
import torch
from reference_lm import (
    build_model,
    build_tokenizer,
    comment_prompts,
    dialogue_texts,
    labelled_comments,
    question_alone,
)

from erc.data.conversation import Conversation, Utterance
from erc.data.corpora import Corpus
from erc.emotions import load_emotion_set
from erc.llm.base.memory_estimate import Shape
from erc.llm.prompts.builder import PromptBuilder
from erc.llm.prompts.encoding import PromptEncoder
from erc.llm.prompts.tasks import TaskPrompts

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
    assert (
        2_000_000
        < Shape.of(model.config).parameters
        == sum(p.numel() for p in model.parameters())
        < 4_500_000
    )


def test_dialogue_is_lines_of_names_and_texts():
    talk = Conversation("c", (Utterance("0", 0, "Ross", "Hi."), Utterance("1", 1, "Joey", "Hey!")))
    assert dialogue_texts([talk, Conversation("empty", ())]) == ["Ross: Hi.\nJoey: Hey!"]


def test_labelled_comments_are_those_of_one_ekman_emotion():
    """Admiration and joy are both joy; grief and joy are two emotions, and no emotion is none."""
    said = [("a", ("admiration", "joy")), ("b", ("grief", "joy")), ("c", ("neutral",)), ("d", ())]
    talks = tuple(
        Conversation(text, (Utterance(text, 0, "Ana", text, emotions=emotions),)) for text, emotions in said
    )
    corpus = Corpus(
        name="goemotions",
        split="train",
        conversations=talks,
        emotion_set="goemotions",
        edition="full",
        anomalies=(),
        files=(),
    )
    assert labelled_comments(corpus) == [("a", "joy"), ("c", "neutral")]


def test_comment_prompts_ask_about_the_last_turn_and_know_its_emotion(tokenizer):
    comments = [(f"comment number {i}", "joy" if i % 2 else "fear") for i in range(8)]
    prompts = TaskPrompts(
        PromptBuilder(encoder=PromptEncoder(tokenizer), labels=load_emotion_set("ekman").labels)
    )
    made = comment_prompts(comments, prompts, count=6, seed=1)
    assert len(made) == 6
    for one in made:
        asked = prompts.builder.encoder.text(one.prompt)
        target = next(text for text, _ in comments if f'"{text}"' in asked)
        assert one.answer == dict(comments)[target]
        assert asked.index(target) < asked.index(
            f'"{target}"'
        )  # it stands in the dialogue, and the question repeats it
    assert [one.prompt for one in comment_prompts(comments, prompts, count=6, seed=1)] == [
        one.prompt for one in made
    ]


def test_labelled_comments_in_another_set_are_named_by_its_labels():
    said = [("a", ("joy",)), ("b", ("anger",)), ("c", ("neutral",))]
    talks = tuple(
        Conversation(text, (Utterance(text, 0, "Ana", text, emotions=emotions),)) for text, emotions in said
    )
    corpus = Corpus(
        name="goemotions",
        split="train",
        conversations=talks,
        emotion_set="goemotions",
        edition="full",
        anomalies=(),
        files=(),
    )
    assert labelled_comments(corpus, "emorynlp") == [("a", "joyful"), ("b", "mad"), ("c", "neutral")]


def test_comment_prompts_draw_rare_emotions_more_often_than_they_stand(tokenizer):
    comments = [(f"comment number {i}", "fear" if i % 20 == 0 else "joy") for i in range(400)]
    prompts = TaskPrompts(
        PromptBuilder(encoder=PromptEncoder(tokenizer), labels=load_emotion_set("ekman").labels)
    )
    made = comment_prompts(comments, prompts, count=100, seed=0)
    assert len({one.prompt.user for one in made}) == 100  # nothing is drawn twice
    assert 10 < sum(one.answer == "fear" for one in made) <= 20  # 5 of 100 stand there


def test_question_alone_is_how_the_whole_prompt_ends(tokenizer):
    encoder = PromptEncoder(tokenizer)
    prompts = TaskPrompts(PromptBuilder(encoder=encoder, labels=load_emotion_set("ekman").labels))
    made = comment_prompts([("so glad", "joy"), ("oh no", "fear")], prompts, count=2, seed=0)[0]
    whole, alone = encoder.text(made.prompt), encoder.text(question_alone(made).prompt)
    question = alone.removeprefix("<|im_start|>user\n")
    assert question.startswith("Which emotion does")
    assert whole.endswith(question)
    assert question_alone(made).answer == made.answer
