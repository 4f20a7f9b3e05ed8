"""What a prompt is told beside the dialogue: bios, the speaker's past emotions, demonstrations.

Whoever holds the speaker memory fills these in; nothing here looks anything up, and nothing here may be newer
than the target.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

import numpy as np

from erc.data.history import Moment

Retrieval = Literal["recency", "similarity", "both", "none"]
"""Which of a speaker's past turns stand in the prompt: the last ones, those most like the target, both, or none."""


Vector = Callable[[], np.ndarray]
"""Gives the embedding (P,) of a turn when it is asked for."""


@dataclass(frozen=True, slots=True)
class HistoryEntry:
    """One earlier turn of the speaker: the emotion predicted for it then (never a gold label), with its confidence in [0, 1]."""

    emotion: str
    confidence: float
    text: str


@dataclass(frozen=True, slots=True, eq=False)
class ReadTurn:
    """An earlier turn as the shared classifier reads it: words, embedding (P,), fine probabilities (F,). `text` None: the words were not kept."""

    text: str | None
    embedding: np.ndarray
    probabilities: np.ndarray


@dataclass(frozen=True, slots=True)
class SpeakerBio:
    """Passages of a speaker's bio, under the name the dialogue uses. `version` names the bio for the record."""

    name: str
    passages: tuple[str, ...]
    version: str | None = None


@dataclass(frozen=True, slots=True)
class SpeakerNotes:
    """What is known at a moment: bios of the dialogue's speakers (the same for all its turns), and the target speaker's past, oldest first."""

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
    """Answers what a prompt may know of its speakers before a moment."""

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
        """Bios of `speaker` and `others`, and at most `limit` past turns of `speaker` strictly before `before`.

        `vector` gives the target's embedding, by which similar turns are found. `said` holds what `speaker`
        has said in the conversation itself, oldest first, which the provider does not know.
        """
        ...
