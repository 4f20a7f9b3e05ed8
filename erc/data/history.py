"""How models read a speaker's past.

Every lookup has a required `before`, so reading the future is a type error. Training and evaluation use an
in-memory provider, labelling uses one over the persistent speaker memory.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    import numpy as np


@dataclass(frozen=True, slots=True, order=True)
class Moment:
    """A point in the order of turns: time, then conversation, then index.

    `time` is the timestamp in seconds if the source has one, else the sequence number of first ingestion.
    """

    time: float
    conversation_id: str
    index: int


@dataclass(frozen=True, slots=True)
class PastUtterance:
    """One remembered turn: the context-free classifier's output, never a gold label.

    `embedding` is (P,), `probabilities` (28,).
    """

    moment: Moment
    embedding: np.ndarray
    probabilities: np.ndarray
    text: str | None = None

    @classmethod
    def observed(
        cls, moment: Moment, embedding: np.ndarray, probabilities: np.ndarray, text: str | None
    ) -> PastUtterance:
        """A turn in the precision used by every history: a float16 embedding, float32 probabilities."""
        return cls(
            moment, embedding.astype("float16", copy=False), probabilities.astype("float32", copy=False), text
        )


@dataclass(frozen=True, slots=True)
class SpeakerHistory:
    """A speaker's last turns before a moment, oldest first, with the counts of all earlier ones."""

    turns: tuple[PastUtterance, ...]
    utterances: int
    conversations: int


class HistoryProvider(Protocol):
    """Returns a speaker's turns before a moment, across conversations."""

    def history(self, speaker: str, *, before: Moment, limit: int) -> SpeakerHistory:
        """At most `limit` turns of `speaker` strictly before `before`, oldest first."""
        ...


@dataclass(frozen=True, slots=True, eq=False)
class SimilarUtterance:
    """A remembered turn and its cosine similarity in [-1, 1] to the query vector."""

    turn: PastUtterance
    similarity: float


@dataclass(frozen=True, slots=True)
class PastBio:
    """Passages of a person's bio in their order.

    `version` names the bio in records. `vectors` (R, P) are the passages' embeddings by the shared
    classifier, None if the memory does not hold them.
    """

    passages: tuple[str, ...]
    version: str
    vectors: np.ndarray | None = field(default=None, compare=False)


class SpeakerPast(Protocol):
    """The remembered past of the speakers of conversations, from before the first turn of each.

    It comes from a speaker memory when labelling, and from a corpus in training and evaluation. Each scorer
    reads the parts it needs. `before` is always a turn of the conversation being read.
    """

    def time(self, conversation_id: str) -> float:
        """Start of a conversation in the order of the memory, as `Moment.time`."""
        ...

    def person(self, conversation_id: str, name: str) -> str | None:
        """Id of the person whom a conversation calls `name`; None for a person the memory does not store.

        A name that is new to a live conversation is looked up as of the conversation's start.
        """
        ...

    def history(self, person: str, *, before: Moment, limit: int) -> SpeakerHistory:
        """At most `limit` remembered turns of a person, oldest first, with the counts of all."""
        ...

    def similar(
        self, person: str, vector: np.ndarray, *, before: Moment, limit: int
    ) -> Sequence[SimilarUtterance]:
        """At most `limit` remembered turns of a person, the nearest to `vector` (P,)."""
        ...

    def bio(self, person: str, *, before: Moment, limit: int | None = None) -> PastBio | None:
        """The person's bio: all passages, or the `limit` nearest to the person's last turns."""
        ...
