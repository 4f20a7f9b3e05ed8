"""The history in memory: limited, strictly before a moment, for any order of insertion."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from erc.data.chronology import (
    InMemoryHistory,
    NoHistory,
    OtherSpeakerHistory,
    sequence_numbers,
    shuffled_speakers,
)
from erc.data.conversation import Conversation
from erc.data.history import Moment, PastUtterance

MOMENTS = st.tuples(st.integers(0, 3), st.integers(0, 5)).map(lambda pair: at(*pair))


def at(conversation: int, index: int) -> Moment:
    return Moment(time=float(conversation), conversation_id=f"c{conversation}", index=index)


def turn(moment: Moment, value: float = 0.0) -> PastUtterance:
    return PastUtterance(moment=moment, embedding=np.full(2, value), probabilities=np.full(3, value))


@settings(deadline=None)
@given(
    moments=st.lists(MOMENTS, unique=True, max_size=15),
    before=MOMENTS,
    limit=st.integers(0, 6),
    scope=st.sampled_from(["global", "dialogue"]),
)
def test_history_is_the_last_turns_strictly_before(
    moments: list[Moment], before: Moment, limit: int, scope: str
) -> None:
    history = InMemoryHistory(scope=scope)  # type: ignore[arg-type]
    for moment in moments:
        history.add("ana", turn(moment))
        history.history("ana", before=before, limit=limit)  # a lookup between insertions changes nothing
    found = history.history("ana", before=before, limit=limit)
    visible = [
        m
        for m in sorted(moments)
        if m < before and (scope == "global" or m.conversation_id == before.conversation_id)
    ]
    assert [past.moment for past in found.turns] == (visible[-limit:] if limit else [])
    assert found.utterances == len(visible)
    assert found.conversations == len({m.conversation_id for m in visible})


def test_history_of_a_stranger_is_empty() -> None:
    history = InMemoryHistory()
    history.add("ana", turn(at(0, 0)))
    assert history.history("ben", before=at(9, 0), limit=5).turns == ()


def test_history_replaces_a_turn_at_the_same_moment() -> None:
    history = InMemoryHistory()
    history.add("ana", turn(at(0, 0), 1.0))
    history.add("ana", turn(at(0, 0), 2.0))
    found = history.history("ana", before=at(1, 0), limit=5)
    assert found.utterances == 1
    assert found.turns[0].embedding[0] == 2.0


def test_sequence_numbers_follow_the_given_order_and_reject_a_repeated_id() -> None:
    conversations = [Conversation(name, ()) for name in ("b", "a")]
    assert sequence_numbers(conversations) == {"b": 0.0, "a": 1.0}
    with pytest.raises(ValueError, match="b is repeated"):
        sequence_numbers([*conversations, conversations[0]])


def test_no_history_has_no_turns() -> None:
    assert NoHistory().history("ana", before=at(9, 9), limit=5).utterances == 0


def test_other_speaker_history_returns_turns_of_another_speaker_before_the_moment() -> None:
    history = InMemoryHistory()
    for number, speaker in enumerate(["ana"] * 4 + ["ben"] * 3 + ["cleo"] * 2):
        history.add(speaker, turn(at(number, 0), float(ord(speaker[0]))))
    other = OtherSpeakerHistory(history, history.speakers)
    owners = {
        speaker: {chr(int(t.embedding[0])) for t in other.history(speaker, before=at(99, 0), limit=9).turns}
        for speaker in history.speakers
    }
    assert owners == {"ana": {"b"}, "ben": {"a"}, "cleo": {"a"}}
    assert other.history("ana", before=at(5, 0), limit=9).utterances == 1


def test_other_speaker_history_of_a_single_speaker_is_empty() -> None:
    history = InMemoryHistory()
    history.add("ana", turn(at(0, 0)))
    assert (
        OtherSpeakerHistory(history, history.speakers).history("ana", before=at(1, 0), limit=3).utterances
        == 0
    )


def test_shuffled_speakers_keep_turn_counts_and_moments() -> None:
    turns = [
        (speaker, turn(at(number, 0), number)) for number, speaker in enumerate(["ana"] * 20 + ["ben"] * 10)
    ]
    shuffled = shuffled_speakers(turns, seed=1)
    pasts = {name: shuffled.history(name, before=at(99, 0), limit=99).turns for name in ("ana", "ben")}
    assert Counter({name: len(past) for name, past in pasts.items()}) == Counter(ana=20, ben=10)
    assert sorted(t.moment for past in pasts.values() for t in past) == [t.moment for _, t in turns]
    assert 0 < sum(t.embedding[0] < 20 for t in pasts["ben"]) < 11
    again = shuffled_speakers(turns, seed=1).history("ben", before=at(99, 0), limit=99).turns
    assert [t.moment for t in again] == [t.moment for t in pasts["ben"]]


def test_speakers_within_dialogues_are_listed_once_most_turns_first() -> None:
    history = InMemoryHistory(scope="dialogue")
    for owner, moment in (
        ("ana", at(0, 0)),
        ("ben", at(0, 1)),
        ("ben", at(1, 0)),
        ("ana", at(2, 0)),
        ("ben", at(2, 1)),
    ):
        history.add(owner, turn(moment))
    assert history.speakers == ("ben", "ana")
