"""The nouns of the speaker memory. All are frozen; none knows of a database or of a model."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NewType

import numpy as np

from speakers.errors import InvalidRecordError

SpeakerId = NewType("SpeakerId", str)
"""`spk_` and 26 characters; opaque, stable, never reused and never derived from a name (save in pseudonymous stores)."""


HIGHEST_INDEX = 2**53
"""The highest index of a turn: what any JSON reader still takes for a whole number."""


def check_text(value: str, what: str) -> str:
    """The string itself where every engine can hold it; lone surrogates and NUL are refused."""
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
    """A moment in the store's one order of turns: time, then first-ingestion sequence, conversation and index.

    `time` is in UTC seconds. `sequence` counts conversations in the order in which the tenant first took them
    in.
    """

    time: float
    sequence: int
    conversation_id: str
    index: int

    def __post_init__(self) -> None:
        if not math.isfinite(self.time):
            raise InvalidRecordError(f"time={self.time}: a point in the order needs a finite time in seconds")


@dataclass(frozen=True, slots=True)
class Speaker:
    """A person as one tenant knows them. `scope` is the conversation a generic name is bound to, None for a name known everywhere.

    `name` is for people to read and None in pseudonymous stores; identity is the id alone.
    """

    speaker_id: SpeakerId
    name: str | None
    scope: str | None = None
    aliases: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class StoredUncertainty:
    """Entropies in nats of the context-free classifier: total = aleatoric + epistemic."""

    total: float
    aleatoric: float
    epistemic: float


@dataclass(frozen=True, slots=True)
class ConversationLabel:
    """What the conversation model said of the turn; it stands beside the classifier's weights and is never read back as evidence."""

    emotion: str
    confidence: float


@dataclass(frozen=True, slots=True)
class Embedder:
    """Who made the vectors. A tenant keeps vectors of one embedder only."""

    name: str
    revision: str
    width: int


@dataclass(frozen=True, slots=True)
class Observation:
    """One turn of one speaker. Its identity is (conversation_id, utterance_id), never its content.

    `weights` are the context-free classifier's, each between 0 and 1, kept as float32. `timestamp` is in UTC
    seconds. `vector` has shape (width,) and is kept as float16 if it is float16, else as float32. `point` is
    set by the store.
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
                f"{place}: index={self.index!r} is no whole number from 0 to {HIGHEST_INDEX}"
            )
        if self.timestamp is not None and not math.isfinite(self.timestamp):
            raise InvalidRecordError(f"{place}: timestamp={self.timestamp} is not a finite number of seconds")
        for label, weight in self.weights.items():
            check_text(label, f"a label of {place}")
            if not 0.0 <= weight <= 1.0:
                raise InvalidRecordError(
                    f"{place}: weight of {label!r} is {weight}; weights lie between 0 and 1"
                )
        entropies = self.uncertainty
        if entropies is not None and not all(
            map(math.isfinite, (entropies.total, entropies.aleatoric, entropies.epistemic))
        ):
            raise InvalidRecordError(
                f"{place}: {entropies} holds a number that is not finite; leave out what is not known"
            )
        if self.label is not None:
            check_text(self.label.emotion, f"label of {place}")
            if not math.isfinite(self.label.confidence):
                raise InvalidRecordError(
                    f"{place}: confidence={self.label.confidence} is not a finite number"
                )
        if self.vector is not None and (self.vector.ndim != 1 or not np.isfinite(self.vector).all()):
            raise InvalidRecordError(
                f"{place}: a vector has one axis and finite numbers, this has shape {self.vector.shape}"
            )


@dataclass(frozen=True, slots=True)
class Summary:
    """Decayed emotion weights of a speaker's past. `unknown` is the share that no conversation may claim (see `speakers.history`)."""

    weights: Mapping[str, float] = field(default_factory=dict)
    unknown: float = 1.0


@dataclass(frozen=True, slots=True)
class Passage:
    """One sentence of a bio, with how many utterances support it and, where an embedder was handed in, its vector."""

    text: str
    support: int
    vector: np.ndarray | None = field(default=None, compare=False)


@dataclass(frozen=True, slots=True)
class Bio:
    """One version of what is known about a speaker, written by `writer` from `utterances` turns strictly before `before`."""

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
    """What a model may read of a speaker before a point: the last turns oldest first, the summary, counts of all of the past, the bio."""

    speaker: SpeakerId
    observations: tuple[Observation, ...] = ()
    summary: Summary = field(default_factory=Summary)
    utterances: int = 0
    conversations: int = 0
    bio: Bio | None = None


@dataclass(frozen=True, slots=True)
class Hit:
    """A past observation and how near it is to the query: cosine in float64."""

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
    """Nearest first; equal scores stand in the order of ingestion. `passages` is empty when no speaker was named."""

    observations: tuple[Hit, ...] = ()
    passages: tuple[PassageHit, ...] = ()


@dataclass(frozen=True, slots=True)
class Receipt:
    """An acknowledged transaction: how many observations are new, were known before, and were refused because the person asked to be forgotten.

    `warnings` say what a person should know of beside it, such as an erasure that is due and could not be
    finished yet.
    """

    conversation_id: str
    recorded: int
    known: int
    erased: int
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Resolution:
    """Who a name is. `speaker` is None for a person who was forgotten: nothing is known of them, and nothing will be kept."""

    speaker: Speaker | None
    created: bool = False
    warnings: tuple[str, ...] = ()

    @property
    def erased(self) -> bool:
        """Whether the name belongs to a person who was forgotten."""
        return self.speaker is None


@dataclass(frozen=True, slots=True)
class AuditEntry:
    """One logged change of identities; `undone_by` is the entry that reversed it."""

    audit: int
    at: float
    action: str
    speaker_id: SpeakerId | None
    other_id: SpeakerId | None
    detail: Mapping[str, object]
    undone_by: int | None = None


@dataclass(frozen=True, slots=True)
class LoggedNames:
    """Names of now for entries of the log: of `speakers` by id, and of `aliases` by the number an entry's detail gives. None where none is kept;
    who was forgotten, or an alias that was taken back, is in neither."""

    speakers: dict[str, str | None]
    aliases: dict[int, str | None]


@dataclass(frozen=True, slots=True)
class Erasure:
    """What `forget` removed, in counts; it names nobody."""

    speakers: int
    observations: int
    bios: int
    audit_entries: int
