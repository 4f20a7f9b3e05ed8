"""A dialogue window gives the prompts of the whole past from a bounded part of it."""

from __future__ import annotations

import pytest

from erc.data.conversation import Context, Conversation, Utterance
from erc.llm.prompts.budget import Budget
from erc.llm.prompts.builder import PromptBuilder
from erc.llm.prompts.dialogue import DialogueWindow
from erc.llm.prompts.encoding import PromptEncoder
from erc.llm.prompts.notes import Demonstration

LABELS = ("joy", "sadness", "neutral")


def dialogue(turns):
    texts = ("word " * (1 + 7 * i % 11) + ("x" * 900 if i % 13 == 5 else "") for i in range(turns))
    return Conversation("c", tuple(Utterance(f"u{i}", i, "ABC"[i % 3], text) for i, text in enumerate(texts)))


def builder_with(tokenizer, *, room, **limits):
    """A builder whose budget leaves `room` tokens for the dialogue."""
    encoder = PromptEncoder(tokenizer)
    fixed = len(encoder.prompt_ids(PromptBuilder(encoder=encoder, labels=LABELS).content_free()))
    return PromptBuilder(encoder=encoder, labels=LABELS, budget=Budget(max_tokens=fixed + room, **limits))


@pytest.mark.parametrize(
    "limits", [{"block": 1}, {"block": 4}, {"block": 3, "max_turns": 5}, {"block": 2, "max_turns": 0}]
)
def test_window_gives_the_prompts_of_the_whole_past(chat_tokenizer, limits):
    builder = builder_with(chat_tokenizer, room=1500, **limits)
    talk, window = dialogue(60), DialogueWindow(builder)
    for turn in talk:
        assert window.prompt(turn) == builder.emotion(Context.causal(talk, turn.index))
        window.append(turn)
    assert len(window) == 60
    assert window.earlier > 0


@pytest.mark.parametrize("limits", [{"block": 3}, {"block": 2, "max_turns": 6}])
def test_window_shows_the_demonstrations_of_the_whole_past(chat_tokenizer, limits):
    builder = builder_with(chat_tokenizer, room=1500, **limits)
    talk, window, shown = dialogue(30), DialogueWindow(builder), []
    demonstrations = [Demonstration(((name, "word " * 120),), "joy") for name in ("Far", "Near")]
    for turn in talk:
        prompt = builder.emotion(Context.causal(talk, turn.index), demonstrations=demonstrations)
        assert window.prompt(turn, demonstrations=demonstrations) == prompt
        shown.append(sum(f"{name}:" in prompt.user for name in ("Far", "Near")))
        window.append(turn)
    assert shown[0] == 2
    assert 0 in shown


def test_window_stops_growing(chat_tokenizer):
    window, sizes = DialogueWindow(builder_with(chat_tokenizer, room=1500, block=4)), []
    period = 4 * 11 * 13  # after so many turns the same words come again, in the same places of their blocks
    for turn in dialogue(2 * period):
        window.append(turn)
        sizes.append(window.nbytes)
    assert max(sizes[period:]) <= max(sizes[:period])
    assert sum(window.spoken.values()) == 2 * period


def test_window_is_restored_from_its_record(chat_tokenizer):
    builder, talk = builder_with(chat_tokenizer, room=1500, block=4), dialogue(50)
    window, resumed = DialogueWindow(builder), DialogueWindow(builder)
    for turn in talk.utterances[:30]:
        window.append(turn)
    resumed.restore(window.record())
    for turn in talk.utterances[30:]:
        assert resumed.prompt(turn) == window.prompt(turn)
        resumed.append(turn)
        window.append(turn)
