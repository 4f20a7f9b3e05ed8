"""The Protocol through which models read a speaker's past.

Training and evaluation hand in a chronological provider held in memory; the command line hands in one over
the persistent speaker memory. Neither has a default for `before`: a look-up that could see the future cannot
be written.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np


@dataclass(frozen=True, slots=True, order=True)
class Moment:
    """A point in the order of turns: time, then conversation, then index.

    `time` is the timestamp in seconds where the source has one, else the first-ingestion sequence.
    """

    time: float
    conversation_id: str
    index: int


@dataclass(frozen=True, slots=True)
class PastUtterance:
    """One remembered turn: what the context-free utterance classifier made of it.

    `embedding` has shape (D,), `probabilities` (28,): the shared classifier's output, never a gold label.
    """

    moment: Moment
    embedding: np.ndarray
    probabilities: np.ndarray
    text: str | None = None


@dataclass(frozen=True, slots=True)
class SpeakerHistory:
    """A speaker's last turns before a moment, oldest first, with the counts of all there were before it."""

    turns: tuple[PastUtterance, ...]
    utterances: int
    conversations: int


class HistoryProvider(Protocol):
    """Answers what a speaker said before a moment, across conversations."""

    def history(self, speaker: str, *, before: Moment, limit: int) -> SpeakerHistory:
        """At most `limit` turns of `speaker` strictly before `before`, oldest first."""
        ...
