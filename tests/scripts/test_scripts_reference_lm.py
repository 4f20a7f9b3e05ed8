"""Parts of the reference language model: tokenizer, network, training texts and prompts."""

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


def test_tokenizer_round_trips_any_text(tokenizer):
    text = "Ναί, 你好 👩\u200d🚀 <b>\tx"
    assert tokenizer.decode(tokenizer(text)["input_ids"]) == text


def test_tokenizer_has_a_chat_template(tokenizer):
    encoder = PromptEncoder(tokenizer)
    assert encoder.system_role
    assert encoder.answer_ids("joy")[-1] == tokenizer.convert_tokens_to_ids("<|im_end|>")


def test_model_has_a_few_million_parameters():
    with torch.device("meta"):  # parameters are counted without weights
        model = build_model(4096)
    assert (
        2_000_000
        < Shape.of(model.config).parameters
        == sum(p.numel() for p in model.parameters())
        < 4_500_000
    )


def test_dialogue_text_has_one_line_per_turn():
    dialogue = Conversation("c", (Utterance("0", 0, "Ross", "Hi."), Utterance("1", 1, "Joey", "Hey!")))
    assert dialogue_texts([dialogue, Conversation("empty", ())]) == ["Ross: Hi.\nJoey: Hey!"]


def test_labelled_comments_have_exactly_one_ekman_emotion():
    """Admiration and joy both map to joy. Grief and joy map to two emotions; a turn may have no emotion."""
    said = [("a", ("admiration", "joy")), ("b", ("grief", "joy")), ("c", ("neutral",)), ("d", ())]
    dialogues = tuple(
        Conversation(text, (Utterance(text, 0, "Ana", text, emotions=emotions),)) for text, emotions in said
    )
    corpus = Corpus(
        name="goemotions",
        split="train",
        conversations=dialogues,
        emotion_set="goemotions",
        edition="full",
        anomalies=(),
        files=(),
    )
    assert labelled_comments(corpus) == [("a", "joy"), ("c", "neutral")]


def test_comment_prompt_asks_about_the_last_turn_and_has_its_emotion(tokenizer):
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
        assert asked.index(target) < asked.index(f'"{target}"')  # in the dialogue, then in the question
    assert [one.prompt for one in comment_prompts(comments, prompts, count=6, seed=1)] == [
        one.prompt for one in made
    ]


def test_labelled_comments_use_the_labels_of_the_other_set():
    said = [("a", ("joy",)), ("b", ("anger",)), ("c", ("neutral",))]
    dialogues = tuple(
        Conversation(text, (Utterance(text, 0, "Ana", text, emotions=emotions),)) for text, emotions in said
    )
    corpus = Corpus(
        name="goemotions",
        split="train",
        conversations=dialogues,
        emotion_set="goemotions",
        edition="full",
        anomalies=(),
        files=(),
    )
    assert labelled_comments(corpus, "emorynlp") == [("a", "joyful"), ("b", "mad"), ("c", "neutral")]


def test_comment_prompts_oversample_rare_emotions(tokenizer):
    comments = [(f"comment number {i}", "fear" if i % 20 == 0 else "joy") for i in range(400)]
    prompts = TaskPrompts(
        PromptBuilder(encoder=PromptEncoder(tokenizer), labels=load_emotion_set("ekman").labels)
    )
    made = comment_prompts(comments, prompts, count=100, seed=0)
    assert len({one.prompt.user for one in made}) == 100  # no comment is sampled twice
    assert 10 < sum(one.answer == "fear" for one in made) <= 20  # 5 of 100 comments have it


def test_question_is_the_end_of_the_whole_prompt(tokenizer):
    encoder = PromptEncoder(tokenizer)
    prompts = TaskPrompts(PromptBuilder(encoder=encoder, labels=load_emotion_set("ekman").labels))
    made = comment_prompts([("so glad", "joy"), ("oh no", "fear")], prompts, count=2, seed=0)[0]
    whole, alone = encoder.text(made.prompt), encoder.text(question_alone(made).prompt)
    question = alone.removeprefix("<|im_start|>user\n")
    assert question.startswith("Which emotion does")
    assert whole.endswith(question)
    assert question_alone(made).answer == made.answer
