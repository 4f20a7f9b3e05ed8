"""Whether a name denotes one person of the whole corpus, or only within one conversation."""

from __future__ import annotations

import pytest

from erc.data.conversation import Conversation, Utterance
from erc.data.identity import key_of, speaker_key
from erc.models.speaker_embedding import UNKNOWN, SpeakerVocabulary


def test_speaker_keys_include_their_corpus() -> None:
    assert speaker_key("meld", " Ross  Geller ", "a") == speaker_key("meld", "ross geller", "b")
    assert len({speaker_key(corpus, "Ross", "a") for corpus in ("meld", "emorynlp", None)}) == 3


@pytest.mark.parametrize(
    ("corpus", "name"),
    [
        ("meld", "All"),
        ("emorynlp", "#ALL#"),
        ("meld", "The Waiter"),
        ("meld", "a nurse"),
        ("dailydialog", "B"),
    ],
)
def test_speaker_key_of_a_stranger_includes_the_conversation(corpus: str, name: str) -> None:
    assert speaker_key(corpus, name, "one") != speaker_key(corpus, name, "other")
    assert speaker_key(corpus, name, "one") == speaker_key(corpus, name.upper(), "one")


@pytest.mark.parametrize("name", ["Ross", "B", "Allesandro", "Dr. Green", "The Dry Cleaner", "Guru Saj"])
def test_speaker_key_of_a_person_is_the_same_everywhere(name: str) -> None:
    assert speaker_key("meld", name, "one") == speaker_key("meld", name, "other")


def test_speaker_vocabulary_has_no_row_for_strangers() -> None:
    turns = tuple(
        Utterance(f"c-{i}", i, name, "Hm.")
        for i, name in enumerate(["All", "Ross", "Waiter", "Ross", "All", "the waiter"])
    )
    talk = Conversation("c", turns, corpus="meld")
    vocabulary = SpeakerVocabulary.from_conversations([talk], corpus="meld")
    assert vocabulary.names == ("Ross",)
    assert SpeakerVocabulary("meld", ("All", "Ross")).row("meld", "All") == UNKNOWN
    assert key_of(talk, turns[2]) != key_of(talk, turns[1])
