"""Who a speaker's name means: one person of the whole corpus, or somebody of this conversation alone.

A user's speakers are told apart by the speaker memory, which knows more about names; this is the rule for
corpora, whose names are few.
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
"""Several people at once, and roles that another conversation gives to somebody else."""


def is_stranger(corpus: str | None, name: str) -> bool:
    """Whether a name means nobody beyond its conversation; case, spacing, `#...#` and an article in front do not count."""
    plain = " ".join(name.strip("# ").split()).casefold()
    spec = CORPORA.get(corpus or "")
    return (
        (spec is not None and not spec.names_speakers)
        or plain in _STRANGERS
        or plain.removeprefix("the ").removeprefix("a ") in _STRANGERS
    )


def speaker_key(corpus: str | None, name: str, conversation_id: str) -> str:
    """The key a speaker's history is filed under: the corpus is the namespace, case and spacing of the name do not count.

    Where the name means nobody beyond its conversation, the conversation is part of the key.
    """
    key = f"{corpus or ''}/{' '.join(name.split()).casefold()}"
    return f"{key}\0{conversation_id}" if is_stranger(corpus, name) else key


def key_of(conversation: Conversation, turn: Utterance) -> str:
    """`speaker_key` of the speaker of a turn."""
    return speaker_key(conversation.corpus, turn.speaker, conversation.conversation_id)
