"""Demonstrations: nearest by text, never chosen by label, never from the target's own conversation."""

from __future__ import annotations

import inspect
from collections import Counter

import numpy as np
import pytest

from erc.data.conversation import Conversation, Utterance
from erc.data.leaks import HeldOut, LeakFilter, text_hash
from erc.llm.prompts.demonstrations import DemonstrationIndex, TurnSource

WORDS = ("happy", "angry", "coffee", "dinosaur", "sad")
NO_LEAKS = LeakFilter(())


def embed(texts):
    return np.array([[text.count(word) for word in WORDS] + [0.1] for text in texts], dtype=np.float32)


def conversation(name, *turns, episode=None, corpus="meld"):
    meta = {} if episode is None else {"season": 1, "episode": episode}
    utterances = tuple(
        Utterance(f"{name}-{i}", i, "Ross", text, emotions=(label,)) for i, (text, label) in enumerate(turns)
    )
    return Conversation(name, utterances, corpus=corpus, meta=meta)


CORPUS = [
    conversation("a", ("I like coffee", "joy"), ("coffee coffee angry", "anger"), episode=1),
    conversation("b", ("a dinosaur is here", "surprise"), ("so sad", "sadness"), episode=2),
    conversation("c", ("happy coffee", "joy"), ("who knows", "other"), episode=1),
]


def index(**changes):
    settings = {"leaks": NO_LEAKS, "labels": ("joy", "anger", "surprise", "sadness"), "turns": 1}
    return DemonstrationIndex.build(CORPUS, embed, **{**settings, **changes})


def found(text, origin=None, k=2):
    return [
        shown.turns[-1][1]
        for shown in index().search(embed([text])[0], text=text, origin=origin or TurnSource(), k=k)
    ]


def test_nearest_turn_is_last():
    assert found("coffee") == ["coffee coffee angry", "I like coffee"]


def test_demonstration_brings_the_turn_before():
    shown = index().search(embed(["angry coffee"])[0], text="angry coffee", origin=TurnSource(), k=1)[0]
    assert shown.turns == (("Ross", "I like coffee"), ("Ross", "coffee coffee angry"))
    assert shown.emotion == "anger"


def test_own_conversation_is_never_shown():
    assert "I like coffee" not in found("coffee", TurnSource("a", None), k=5)
    assert len(found("coffee", TurnSource("a", None), k=5)) == 3


def test_own_episode_is_never_shown():
    assert set(found("coffee", TurnSource("elsewhere", (1, 1)), k=5)) == {"a dinosaur is here", "so sad"}


def test_text_equal_to_the_target_is_never_shown():
    assert "I like coffee" not in found("I LIKE coffee!", k=5)


def test_turn_with_a_label_outside_the_set_is_not_indexed():
    assert len(index()) == 5


def test_leak_filter_drops_whole_conversations():
    text = "a dinosaur is here to stay"
    leaking = [*CORPUS[:1], conversation("leak", (text, "surprise"), ("so sad", "sadness"))]
    leaks = LeakFilter((HeldOut("emorynlp", "dev", frozenset({text_hash(text)})),))
    built = DemonstrationIndex.build(
        leaking, embed, leaks=leaks, labels=("joy", "anger", "surprise", "sadness")
    )
    assert {shown.conversation_id for shown in built.demonstrations} == {"a"}
    assert built.report.dropped == 1


def test_search_has_no_way_in_for_a_label():
    assert set(inspect.signature(DemonstrationIndex.search).parameters) == {
        "self",
        "vector",
        "text",
        "origin",
        "k",
    }


def test_labels_do_not_change_what_is_found():
    swapped = [conversation(c.conversation_id, *((u.text, "joy") for u in c)) for c in CORPUS]
    other = DemonstrationIndex.build(swapped, embed, leaks=NO_LEAKS, labels=("joy",), turns=1)
    shown = other.search(embed(["coffee"])[0], text="coffee", origin=TurnSource(), k=2)
    assert [one.turns[-1][1] for one in shown] == found("coffee")


def test_empty_corpus_is_an_error():
    with pytest.raises(ValueError, match="no labelled turn"):
        DemonstrationIndex.build([], embed, leaks=NO_LEAKS, labels=("joy",))


def of_labels(built):
    return Counter(shown.emotion for shown in built.demonstrations)


def test_balanced_demonstrations_have_equally_many_turns_of_each_label():
    talks = [
        conversation(f"c{i}", *((f"text {i} {j}", "anger" if j == 0 and i < 4 else "joy") for j in range(5)))
        for i in range(6)
    ]
    settings = {"leaks": NO_LEAKS, "labels": ("joy", "anger", "sadness")}
    assert of_labels(DemonstrationIndex.build(talks, embed, **settings)) == {"joy": 26, "anger": 4}
    built = DemonstrationIndex.build(talks, embed, balanced=True, **settings)
    assert of_labels(built) == {"joy": 4, "anger": 4}
    again = DemonstrationIndex.build(talks, embed, balanced=True, **settings)
    assert again.demonstrations == built.demonstrations


def test_balanced_demonstrations_hardly_change_with_a_conversation_left_out():
    talks = [
        conversation(f"c{i}", *((f"text {i} {j}", ("joy", "anger")[j % 2]) for j in range(6)))
        for i in range(40)
    ]
    talks += [conversation("rare", *((f"rare {j}", "sadness") for j in range(20)))]
    settings = {"leaks": NO_LEAKS, "labels": ("joy", "anger", "sadness"), "balanced": True}
    whole, less = (
        {shown.turns[-1] for shown in DemonstrationIndex.build(part, embed, **settings).demonstrations}
        for part in (talks, talks[1:])
    )
    assert len(whole) == len(less) == 60
    assert len(whole - less) <= 6


def test_demonstrations_can_go_without_names():
    shown = index(names=False).search(embed(["angry coffee"])[0], text="x", origin=TurnSource(), k=1)[0]
    assert shown.turns == ((None, "I like coffee"), (None, "coffee coffee angry"))
