"""What a prompt shows besides the dialogue: bios, the speaker's past emotions, demonstrations.

The owner of the speaker memory fills these in; this module does no look-ups. Nothing here may be newer than
the target.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

import numpy as np

from erc.data.history import Moment

Retrieval = Literal["recency", "similarity", "both", "none"]
"""Which past turns of a speaker a prompt shows: the latest, the most similar, both, or none."""


Vector = Callable[[], np.ndarray]
"""Computes the embedding (P,) of a turn on demand."""


@dataclass(frozen=True, slots=True)
class HistoryEntry:
    """An earlier turn of the speaker with the emotion predicted for it, never a gold label.

    `confidence` is in [0, 1].
    """

    emotion: str
    confidence: float
    text: str


@dataclass(frozen=True, slots=True, eq=False)
class ReadTurn:
    """An earlier turn with the shared classifier's outputs.

    `embedding` is (P,), `probabilities` of the fine emotions (F,). `text` is None if it was not stored.
    """

    text: str | None
    embedding: np.ndarray
    probabilities: np.ndarray


@dataclass(frozen=True, slots=True)
class SpeakerBio:
    """Passages of a speaker's bio, under the name used in the dialogue. `version` identifies the bio."""

    name: str
    passages: tuple[str, ...]
    version: str | None = None


@dataclass(frozen=True, slots=True)
class SpeakerNotes:
    """What is known before a turn.

    `bios` are those of the dialogue's speakers, the same for all its turns. `history` is the target
    speaker's past, oldest first.
    """

    bios: tuple[SpeakerBio, ...] = ()
    history: tuple[HistoryEntry, ...] = ()


NO_NOTES = SpeakerNotes()


@dataclass(frozen=True, slots=True)
class Demonstration:
    """A labelled turn of a training corpus, with the turns before it.

    `turns` are pairs of name and text, oldest first; the last one has the label `emotion`. A name of None
    was removed: the prompt shows the text alone.
    """

    turns: tuple[tuple[str | None, str], ...]
    emotion: str
    conversation_id: str = ""


class NotesProvider(Protocol):
    """Gives what a prompt may show of its speakers before a moment."""

    def notes(
        self,
        speaker: str,
        *,
        others: tuple[str, ...],
        vector: Vector,
        before: Moment,
        retrieval: Retrieval,
        limit: int,
        said: Sequence[ReadTurn] = (),
    ) -> SpeakerNotes:
        """Bios of `speaker` and `others`, and at most `limit` past turns of `speaker` before `before`.

        Args:
            speaker: The target's speaker.
            others: The other speakers so far.
            vector: Computes the target's embedding, by which similar turns are found.
            before: Only turns strictly before this moment are returned.
            retrieval: How past turns are chosen.
            limit: Most past turns.
            said: Turns of `speaker` in the conversation itself, oldest first, which the provider does not
                know.
        """
        ...
