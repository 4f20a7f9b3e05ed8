"""The choice of a speaker's earlier turns for a prompt."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from erc.emotions import load_emotion_map
from erc.inference.scorers.past_turns import SaidTurns, chosen_turns, entries
from erc.llm.prompts.notes import HistoryEntry, ReadTurn

TARGET = np.array([1.0, 0.0])
MAP = load_emotion_map("goemotions", "ekman")


def turn(text, degrees=90.0, *, probabilities=None):
    """A turn whose embedding has the given angle to the target's."""
    angle = np.deg2rad(degrees)
    return ReadTurn(
        text,
        3.0 * np.array([np.cos(angle), np.sin(angle)], dtype=np.float32),
        np.zeros(28) if probabilities is None else probabilities,
    )


REMEMBERED = [turn("r0", 10), turn("r1", 80), turn("r2", 60)]
NEAR = {0: float(np.cos(np.deg2rad(10))), 2: 0.5}
SAID = [turn("s0", 40), turn("s1", 85)]


def chosen(retrieval, limit, *, remembered=REMEMBERED, said=SAID, near=NEAR):
    found = chosen_turns(remembered, said, near=near, vector=lambda: TARGET, retrieval=retrieval, limit=limit)
    return [one.text for one in found]


@pytest.mark.parametrize(
    ("retrieval", "limit", "expected"),
    [
        ("recency", 3, ["r2", "s0", "s1"]),
        ("recency", 0, []),
        ("recency", 9, ["r0", "r1", "r2", "s0", "s1"]),
        ("similarity", 2, ["r0", "s0"]),  # 10 and 40 degrees from the target
        ("similarity", 3, ["r0", "r2", "s0"]),
        ("both", 4, ["r0", "r2", "s0", "s1"]),  # the nearest two, then the latest two of the others
        ("both", 3, ["r0", "s0", "s1"]),  # half of three, rounded down, is one
        ("both", 2, ["r0", "s1"]),
        ("none", 4, []),
    ],
)
def test_turns_of_the_conversation_and_of_the_memory_are_chosen_by_the_same_rule(retrieval, limit, expected):
    assert chosen(retrieval, limit) == expected


def test_without_a_memory_turns_come_from_the_conversation():
    assert chosen("recency", 1, remembered=[], near={}) == ["s1"]
    assert chosen("similarity", 1, remembered=[], near={}) == ["s0"]


def test_target_vector_is_computed_only_for_similarity():
    def never():
        raise AssertionError("asked for")

    assert len(chosen_turns(REMEMBERED, SAID, near={}, vector=never, retrieval="recency", limit=4)) == 4
    assert len(chosen_turns([], SAID, near={}, vector=never, retrieval="both", limit=1)) == 1


def test_of_equally_similar_turns_the_later_is_chosen():
    assert chosen("similarity", 1, said=[turn("s0", 40), turn("s1", 40)], remembered=[], near={}) == ["s1"]


@given(
    count=st.integers(0, 6),
    said=st.integers(0, 6),
    limit=st.integers(0, 8),
    retrieval=st.sampled_from(["recency", "similarity", "both", "none"]),
)
@settings(deadline=None)
def test_chosen_turns_are_ordered_unique_and_within_the_limit(count, said, limit, retrieval):
    remembered, spoken = (
        [turn(f"r{i}", 7 * i) for i in range(count)],
        [turn(f"s{i}", 5 * i) for i in range(said)],
    )
    near = {i: float(np.cos(np.deg2rad(7 * i))) for i in range(count)}
    found = chosen(retrieval, limit, remembered=remembered, said=spoken, near=near)
    order = [one.text for one in (*remembered, *spoken)]
    assert [order.index(text) for text in found] == sorted({order.index(text) for text in found})
    assert len(found) == (0 if retrieval == "none" else min(limit, count + said))


def test_entries_hold_the_likeliest_emotion_of_turns_with_stored_text():
    weights = np.zeros(28)
    weights[MAP.source.labels.index("grief")], weights[MAP.source.labels.index("curiosity")] = 0.7, 0.2
    found = entries([turn("I miss her.", probabilities=weights), ReadTurn(None, np.zeros(2), weights)], MAP)
    mapped = MAP.apply(weights)
    assert found == (
        HistoryEntry("sadness", float(mapped[MAP.target.labels.index("sadness")]), "I miss her."),
    )


def test_said_turns_hold_the_last_turns_of_each_speaker_for_any_spelling():
    said = SaidTurns(2)
    for speaker, text in (("Ana", "1"), ("Ben", "2"), ("ana ", "3"), ("ANA", "4")):
        said.append(speaker, turn(text))
    assert [[one.text for one in said.of(who)] for who in ("Ana", "Ben", "Cleo")] == [["3", "4"], ["2"], []]


def test_said_turns_are_restored_from_a_snapshot_and_a_record():
    said = SaidTurns(2)
    said.append("Ana", turn("1"))
    back = said.snapshot()
    said.append("Ana", turn("2"))
    said.append("Ben", turn("3"))
    record, other = said.record(), SaidTurns(2)
    other.restore(record, turn)
    assert [[one.text for one in other.of(who)] for who in ("Ana", "Ben")] == [["1", "2"], ["3"]]
    other.append("Ana", turn("4"))
    assert [one.text for one in other.of("Ana")] == ["2", "4"]
    back()
    assert [[one.text for one in said.of(who)] for who in ("Ana", "Ben")] == [["1"], []]


def test_said_turns_have_bounded_size():
    said, sizes = SaidTurns(3), []
    for _ in range(9):
        said.append("Ana", turn("four"))
        sizes.append(said.nbytes)
    assert sizes[2:] == [sizes[2]] * 7
