"""Decides whether a speaker's name in a corpus means one person everywhere, or in one conversation only.

Speakers of a user's transcripts are identified by the speaker memory instead.
"""

from __future__ import annotations

from erc.data.conversation import Conversation, Utterance
from erc.data.corpora.registry import CORPORA

_STRANGERS_TEXT = (
    "all|both|everyone|everybody|guys|kids|friends|her friends|group|crowd|audience|"
    "man|woman|guy|boy|girl|kid|lady|voice|stranger|friend|passerby|customer|client|host|guest|interviewer|student|teacher|professor|doctor|"
    "nurse|waiter|waitress|clerk|receptionist|secretary|director|producer|fireman|policeman|cop|janitor|vendor|announcer|singer"
)
_STRANGERS = frozenset(_STRANGERS_TEXT.split("|"))
"""Groups of people, and roles that different people have in different conversations."""


def is_stranger(corpus: str | None, name: str) -> bool:
    """Whether a name identifies a person only within its conversation.

    Case, spacing, `#...#` and an article in front are ignored.
    """
    plain = " ".join(name.strip("# ").split()).casefold()
    spec = CORPORA.get(corpus or "")
    return (
        (spec is not None and not spec.names_speakers)
        or plain in _STRANGERS
        or plain.removeprefix("the ").removeprefix("a ") in _STRANGERS
    )


def speaker_key(corpus: str | None, name: str, conversation_id: str) -> str:
    """The key of a speaker's history: corpus and name, without differences in case and spacing.

    For a name that identifies a person only within its conversation, the conversation is part of the key.
    """
    key = f"{corpus or ''}/{' '.join(name.split()).casefold()}"
    return f"{key}\0{conversation_id}" if is_stranger(corpus, name) else key


def key_of(conversation: Conversation, turn: Utterance) -> str:
    """`speaker_key` of the speaker of a turn."""
    return speaker_key(conversation.corpus, turn.speaker, conversation.conversation_id)
