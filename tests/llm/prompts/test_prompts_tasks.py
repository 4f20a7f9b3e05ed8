"""Training prompts: what each task shows, hides and asks."""

from __future__ import annotations

import pytest

from erc.data.conversation import Context, Conversation, Utterance
from erc.errors import ConfigError
from erc.llm.prompts.builder import PromptBuilder
from erc.llm.prompts.encoding import PromptEncoder
from erc.llm.prompts.tasks import CHARACTERISTICS, TaskPrompts

LABELS = ("joy", "sadness", "neutral")
TURNS = [
    ("Ross", "hello", "joy"),
    ("Rachel", "go away", "sadness"),
    ("Ross", "secret words", "neutral"),
    ("Joey", "pizza", "unknown"),
]
TALK = Conversation(
    "c",
    tuple(
        Utterance(f"u{i}", i, name, text, emotions=(label,)) for i, (name, text, label) in enumerate(TURNS)
    ),
)


@pytest.fixture(scope="module")
def prompts(chat_tokenizer):
    return TaskPrompts(PromptBuilder(encoder=PromptEncoder(chat_tokenizer), labels=LABELS))


@pytest.mark.parametrize(("index", "answer"), [(0, "Speaker_0"), (1, "Speaker_1"), (2, "Speaker_0")])
def test_speaker_identification_numbers_speakers_by_first_appearance(prompts, index, answer):
    made = prompts.speaker_identification(Context.causal(TALK, index))
    assert made.answer == answer
    assert made.candidates == tuple(f"Speaker_{number}" for number in range(9))


def test_speaker_identification_shows_the_utterance_alone(prompts):
    prompt = prompts.speaker_identification(Context.causal(TALK, 2)).prompt
    assert prompt.user == 'Who says "secret words"?'
    shown = prompt.system + prompt.user
    assert not any(word in shown for word in ("Ross", "Rachel", "hello", "go away"))
    assert "Speaker_0, Speaker_1" in prompt.system
    assert "Speaker_8." in prompt.system


def test_speaker_identification_has_no_label_for_a_tenth_speaker(prompts):
    crowd = Conversation("crowd", tuple(Utterance(f"u{i}", i, f"name {i}", "hello") for i in range(10)))
    assert prompts.speaker_identification(Context.causal(crowd, 8)).answer == "Speaker_8"
    assert prompts.speaker_identification(Context.causal(crowd, 9)) is None


def test_emotion_impact_hides_the_target(prompts):
    made = prompts.emotion_impact(Context.causal(TALK, 2), "neutral")
    assert "secret words" not in made.prompt.system + made.prompt.user
    assert (made.answer, made.candidates) == ("neutral", LABELS)


def test_emotion_impact_needs_a_past(prompts):
    assert prompts.emotion_impact(Context.causal(TALK, 0), "joy") is None


def test_turn_without_a_label_of_the_set_is_no_example(prompts):
    assert [made.answer for made in prompts.of_conversation(TALK, "erc")] == ["joy", "sadness", "neutral"]


@pytest.mark.parametrize("kind", CHARACTERISTICS)
def test_characteristic_asks_a_question_of_its_kind(prompts, kind):
    questions = {
        prompts.characteristic_prompt(Context.causal(TALK, 2), other).user for other in CHARACTERISTICS
    }
    assert len(questions) == 9
    assert prompts.characteristic_prompt(Context.causal(TALK, 2), kind).user in questions


def test_unknown_characteristic_is_an_error(prompts):
    with pytest.raises(ConfigError, match="oWant"):
        prompts.characteristic_prompt(Context.causal(TALK, 2), "zWant")


def test_commonsense_names_the_listeners(prompts):
    assert "how do Ross and Rachel take it?" in prompts.commonsense_prompt(Context.causal(TALK, 3)).user
    assert "take it" not in prompts.commonsense_prompt(Context.causal(TALK, 0)).user


def test_generated_answer_is_one_capped_line(prompts):
    made = prompts.generated(
        "interlocutor_commonsense",
        prompts.commonsense_prompt(Context.causal(TALK, 1)),
        "He wants\nout. " + "x" * 999,
    )
    assert made.answer.startswith("He wants out. ")
    assert len(made.answer) <= 300
    assert made.candidates == ()


@pytest.mark.parametrize("text", ["😀🥳" * 150, "สวัสดีครับ " * 40], ids=["emoji", "thai"])
def test_task_about_a_turn_of_many_tokens_has_a_prompt(prompts, text):
    context = Context.causal(
        Conversation("c", (Utterance("u0", 0, "A", "Hi."), Utterance("u1", 1, "B", text))), 1
    )
    for prompt in (prompts.characteristic_prompt(context, "xReact"), prompts.commonsense_prompt(context)):
        assert len(prompts.builder.encoder.prompt_ids(prompt)) <= prompts.builder.budget.max_tokens
