"""Frozen value types of the speaker memory. They depend on neither the database nor a model."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NewType

import numpy as np

from speakers.errors import InvalidRecordError

SpeakerId = NewType("SpeakerId", str)
"""`spk_` and 26 characters: opaque, stable and never reused.

It is random, except in pseudonymous memories, where it is a keyed digest of the name.
"""

HIGHEST_INDEX = 2**53
"""The highest index of a turn: the largest integer that every JSON reader keeps exactly."""


def check_text(value: str, what: str) -> str:
    """Return the string if both database engines can store it.

    Raises:
        InvalidRecordError: it holds a NUL character or a lone surrogate.
    """
    if "\x00" in value:
        raise InvalidRecordError(f"{what} holds a NUL character; remove it")
    try:
        value.encode("utf-8")
    except UnicodeEncodeError as error:
        raise InvalidRecordError(
            f"{what} holds a lone surrogate at character {error.start}; the source was not decoded as UTF-8"
        ) from None
    return value


@dataclass(frozen=True, slots=True, order=True)
class Point:
    """A position in the order of all turns: by time, then sequence, conversation and index.

    `time` is in UTC seconds. `sequence` numbers conversations in the order of their first recording.
    """

    time: float
    sequence: int
    conversation_id: str
    index: int

    def __post_init__(self) -> None:
        if not math.isfinite(self.time):
            raise InvalidRecordError(f"time={self.time}: a point needs a finite time in seconds")


@dataclass(frozen=True, slots=True)
class Speaker:
    """A person in the memory of one tenant. The id alone identifies them.

    `name` is for display, and None in pseudonymous memories. `scope` is the conversation to which a generic
    name is bound; None for a name that is valid in every conversation.
    """

    speaker_id: SpeakerId
    name: str | None
    scope: str | None = None
    aliases: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class StoredUncertainty:
    """Entropies of the context-free classifier in nats: total = aleatoric + epistemic."""

    total: float
    aleatoric: float
    epistemic: float


@dataclass(frozen=True, slots=True)
class ConversationLabel:
    """The label of the conversation model. It is stored with the weights, and no model reads it."""

    emotion: str
    confidence: float


@dataclass(frozen=True, slots=True)
class Embedder:
    """The model that made the vectors. A tenant stores vectors of only one embedder."""

    name: str
    revision: str
    width: int


@dataclass(frozen=True, slots=True)
class Observation:
    """One turn of one speaker, identified by (conversation_id, utterance_id) and never by its content.

    Attributes:
        speaker: the id of the speaker.
        conversation_id: the conversation.
        utterance_id: the turn, unique in its conversation.
        index: the position of the turn in its conversation, from 0.
        text: the words; None if they are not stored.
        timestamp: UTC seconds, if known.
        weights: emotion weights of the context-free classifier, from 0 to 1, stored as float32.
        uncertainty: entropies of the same classifier.
        label: the label of the conversation model.
        correction: an emotion set by a person.
        model: name and version of the model.
        vector: shape (width,); stored as float16 if it is float16, else as float32.
        point: the position in the order of all turns, set by the store.

    Raises:
        InvalidRecordError: a field cannot be stored.
    """

    speaker: SpeakerId
    conversation_id: str
    utterance_id: str
    index: int
    text: str | None = None
    timestamp: float | None = None
    weights: Mapping[str, float] = field(default_factory=dict)
    uncertainty: StoredUncertainty | None = None
    label: ConversationLabel | None = None
    correction: str | None = None
    model: str | None = None
    vector: np.ndarray | None = field(default=None, compare=False)
    point: Point | None = None

    def __post_init__(self) -> None:
        place = f"utterance {self.utterance_id!r} of conversation {self.conversation_id!r}"
        for what in ("conversation_id", "utterance_id", "text", "correction", "model"):
            value = getattr(self, what)
            if value is not None:
                check_text(value, f"{what} of {place}")
        if (
            not isinstance(self.index, int)
            or isinstance(self.index, bool)
            or not 0 <= self.index <= HIGHEST_INDEX
        ):
            raise InvalidRecordError(
                f"{place}: index={self.index!r} is not a whole number from 0 to {HIGHEST_INDEX}"
            )
        if self.timestamp is not None and not math.isfinite(self.timestamp):
            raise InvalidRecordError(f"{place}: timestamp={self.timestamp} is not a finite number of seconds")
        for label, weight in self.weights.items():
            check_text(label, f"a label of {place}")
            if not 0.0 <= weight <= 1.0:
                raise InvalidRecordError(f"{place}: weight of {label!r} is {weight}; weights are from 0 to 1")
        entropies = self.uncertainty
        if entropies is not None and not all(
            map(math.isfinite, (entropies.total, entropies.aleatoric, entropies.epistemic))
        ):
            raise InvalidRecordError(
                f"{place}: {entropies} has a number that is not finite; omit the uncertainty if it is unknown"
            )
        if self.label is not None:
            check_text(self.label.emotion, f"label of {place}")
            if not math.isfinite(self.label.confidence):
                raise InvalidRecordError(
                    f"{place}: confidence={self.label.confidence} is not a finite number"
                )
        if self.vector is not None and (self.vector.ndim != 1 or not np.isfinite(self.vector).all()):
            raise InvalidRecordError(
                f"{place}: a vector needs one axis and finite numbers; its shape is {self.vector.shape}"
            )


@dataclass(frozen=True, slots=True)
class Summary:
    """Decayed emotion weights of a speaker's past.

    `unknown` is the share that remains when too few conversations reach the cap (see `capped_shares`).
    """

    weights: Mapping[str, float] = field(default_factory=dict)
    unknown: float = 1.0


@dataclass(frozen=True, slots=True)
class Passage:
    """One sentence of a bio, the number of turns that support it, and its vector, shape (width,)."""

    text: str
    support: int
    vector: np.ndarray | None = field(default=None, compare=False)


@dataclass(frozen=True, slots=True)
class Bio:
    """One version of a speaker's bio.

    Attributes:
        version: counts from 1 for each speaker.
        writer: the name of the `BioWriter`.
        before: the bio uses only turns strictly before this point.
        utterances: the number of turns it was written from.
        conversations: the number of conversations they are from.
        passages: its sentences.
    """

    version: int
    writer: str
    before: Point
    utterances: int
    conversations: int
    passages: tuple[Passage, ...]

    @property
    def text(self) -> str:
        """The passages as one paragraph."""
        return " ".join(passage.text for passage in self.passages)


@dataclass(frozen=True, slots=True)
class SpeakerContext:
    """What a model may read of a speaker before a point.

    Attributes:
        speaker: the id of the speaker.
        observations: the last turns, oldest first.
        summary: decayed emotion weights.
        utterances: the number of all earlier turns.
        conversations: the number of conversations they are from.
        bio: the latest bio written before the point.
    """

    speaker: SpeakerId
    observations: tuple[Observation, ...] = ()
    summary: Summary = field(default_factory=Summary)
    utterances: int = 0
    conversations: int = 0
    bio: Bio | None = None


@dataclass(frozen=True, slots=True)
class Hit:
    """A past observation and its cosine with the query, in float64."""

    observation: Observation
    score: float


@dataclass(frozen=True, slots=True)
class PassageHit:
    """A passage of the speaker's bio and its cosine with the query."""

    passage: Passage
    bio_version: int
    score: float


@dataclass(frozen=True, slots=True)
class Recall:
    """Search results, nearest first. Equal scores are in order of recording.

    `passages` is empty if the search is not limited to one speaker.
    """

    observations: tuple[Hit, ...] = ()
    passages: tuple[PassageHit, ...] = ()


@dataclass(frozen=True, slots=True)
class Receipt:
    """A committed recording.

    Attributes:
        conversation_id: the conversation.
        recorded: the number of new observations.
        known: the number that were recorded before.
        erased: the number refused because their speaker was forgotten.
        warnings: problems a user should see, such as an erasure that could not be finished yet.
    """

    conversation_id: str
    recorded: int
    known: int
    erased: int
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Resolution:
    """The speaker of a name; `speaker` is None if the name is that of a forgotten person."""

    speaker: Speaker | None
    created: bool = False
    warnings: tuple[str, ...] = ()

    @property
    def erased(self) -> bool:
        """Whether the name belongs to a forgotten person. Nothing is stored about them."""
        return self.speaker is None


@dataclass(frozen=True, slots=True)
class AuditEntry:
    """One logged change of identities.

    Attributes:
        audit: the number of the entry.
        at: UTC seconds.
        action: merge, split, rename, alias, undo or forget.
        speaker_id: the speaker concerned.
        other_id: the other speaker of a merge or split.
        detail: further facts, depending on the action.
        undone_by: the number of the entry that reversed this one.
    """

    audit: int
    at: float
    action: str
    speaker_id: SpeakerId | None
    other_id: SpeakerId | None
    detail: Mapping[str, object]
    undone_by: int | None = None


@dataclass(frozen=True, slots=True)
class LoggedNames:
    """Current names of the people and aliases in log entries; None where no name is stored.

    `speakers` is keyed by id, `aliases` by the number in an entry's `detail`. Forgotten people and removed
    aliases are in neither.
    """

    speakers: dict[str, str | None]
    aliases: dict[int, str | None]


@dataclass(frozen=True, slots=True)
class Erasure:
    """Counts of what an erasure removed."""

    speakers: int
    observations: int
    bios: int
    audit_entries: int
