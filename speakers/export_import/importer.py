"""Imports an export into one tenant."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, bindparam, case, func, select

from speakers import bios
from speakers.errors import InvalidRecordError
from speakers.export_import.lines import unpacked
from speakers.export_import.speaker_import import SpeakerImport
from speakers.recording import check_place
from speakers.records import (
    HIGHEST_INDEX,
    ConversationLabel,
    Embedder,
    Observation,
    Passage,
    Point,
    SpeakerId,
    StoredUncertainty,
    check_text,
)
from speakers.store.codec import Vocabulary, observation_values, settle_embedder
from speakers.store.tables import BIOS, CONVERSATIONS, OBSERVATIONS, SPEAKERS, TENANTS
from speakers.tenant import AHEAD, Tenant, bump, tenant_row

_O = OBSERVATIONS.c

_NEIGHBOURS = select(
    func.max(case((_O.utterance_id == bindparam("utterance"), 1))).label("known"),
    func.max(case((_O.position == bindparam("place"), _O.utterance_id))).label("holder"),
    func.max(case((_O.position < bindparam("place"), _O.time))).label("earliest"),
    func.min(case((_O.position > bindparam("place"), _O.time))).label("latest"),
).where(_O.tenant == bindparam("of"), _O.conversation_id == bindparam("conversation"))
"""Whether a turn is stored, which turn has its place, and the times of the turns before and after it."""


@dataclass(frozen=True, slots=True)
class ImportReceipt:
    """Counts of a committed import.

    Attributes:
        speakers: new speakers.
        observations: new observations.
        known: observations that were stored before.
        erased: observations refused because their speaker was forgotten.
        logged: changes in the log of the export, which are not imported.
        warnings: problems a user should see.
    """

    speakers: int
    observations: int
    known: int
    erased: int
    logged: int = 0
    warnings: tuple[str, ...] = ()


class Importer:
    """Imports lines into one tenant, inside one write transaction: all or none."""

    def __init__(self, connection: Connection, tenant: Tenant, vocabulary: Vocabulary, *, now: float) -> None:
        self._connection, self._tenant, self._vocabulary = connection, tenant, vocabulary
        self._now = now
        self._embedder: Embedder | None = None
        self._speakers = SpeakerImport(connection, tenant, now=now)
        self._counts = {"observations": 0, "known": 0, "erased": 0, "logged": 0}

    def run(self, lines: Iterable[tuple[str, dict[str, Any]]]) -> ImportReceipt:
        """Import every line, given as its place and content.

        Raises:
            InvalidRecordError: a line cannot be imported; the message starts with its place.
            EmbedderMismatchError: the vectors are of another embedder than the tenant's.
        """
        handlers = {
            "embedder": self._add_embedder,
            "speaker": self._speakers.add,
            "conversation": self._add_conversation,
            "observation": self._add_observation,
            "bio": self._add_bio,
        }
        for place, data in lines:
            kind = data["kind"]
            if kind in ("audit", "memory"):
                self._counts["logged"] += kind == "audit"
                continue
            if kind not in handlers:
                raise InvalidRecordError(
                    f"{place}: unknown kind {kind!r}; one of memory, {', '.join(handlers)}, audit"
                )
            try:
                handlers[kind](data)
            except InvalidRecordError as error:
                raise InvalidRecordError(f"{place}: {error}") from None
            except (KeyError, TypeError, ValueError, AttributeError) as error:
                raise InvalidRecordError(
                    f"{place}: a damaged {kind} line ({type(error).__name__}: {error})"
                ) from None
        bump(self._connection, self._tenant)
        warnings = tuple(self._speakers.warnings)
        return ImportReceipt(speakers=self._speakers.created, **self._counts, warnings=warnings)

    def _add_embedder(self, data: Mapping[str, Any]) -> None:
        self._embedder = Embedder(data["name"], data["revision"], int(data["width"]))
        settle_embedder(self._connection, self._tenant.row, self._embedder)

    def _add_conversation(self, data: Mapping[str, Any]) -> None:
        if self._sequence(check_text(data["conversation_id"], "conversation_id")) is not None:
            return
        counters = tenant_row(self._connection, self._tenant)
        Point(float(data["time"]), 0, "", 0)  # checks that the time is finite
        # Nothing was recorded later than now: a later time is from a wrong clock.
        time = min(float(data["time"]), self._now + AHEAD)
        values = {
            "tenant": self._tenant.row,
            "conversation_id": data["conversation_id"],
            "sequence": counters.next_sequence,
            "time": time,
        }
        self._connection.execute(CONVERSATIONS.insert(), values)
        counted = {"next_sequence": counters.next_sequence + 1, "clock": max(counters.clock, time)}
        where = TENANTS.c.tenant == self._tenant.row
        self._connection.execute(TENANTS.update().where(where).values(**counted))

    def _sequence(self, conversation_id: str) -> int | None:
        where = (CONVERSATIONS.c.tenant == self._tenant.row) & (
            CONVERSATIONS.c.conversation_id == conversation_id
        )
        return self._connection.execute(select(CONVERSATIONS.c.sequence).where(where)).scalar_one_or_none()

    def _add_observation(self, data: Mapping[str, Any]) -> None:
        owner = self._owner(data)
        if owner is None:
            self._counts["erased"] += 1
            return
        sequence = self._sequence(data["conversation_id"])
        if sequence is None:
            raise InvalidRecordError(f"conversation {data['conversation_id']!r} has no line before this one")
        one = _observation(data, sequence)
        parameters = {
            "of": self._tenant.row,
            "conversation": one.conversation_id,
            "utterance": one.utterance_id,
            "place": one.index,
        }
        neighbours = self._connection.execute(_NEIGHBOURS, parameters).one()
        if neighbours.known:
            self._counts["known"] += 1
            return
        check_place(one, neighbours.holder)
        # Time must not contradict the order of the turns by index.
        earliest = -math.inf if neighbours.earliest is None else neighbours.earliest
        latest = math.inf if neighbours.latest is None else neighbours.latest
        time = min(max(float(data["time"]), earliest), latest)
        width = None if self._embedder is None else self._embedder.width
        values = observation_values(one, keeps_text=self._tenant.keeps_text, width=width)
        label_set, weights = self._vocabulary.encode(self._connection, one.weights)
        embedder = None if one.vector is None else self._embedder
        values |= {
            "tenant": self._tenant.row,
            "speaker": owner,
            "sequence": sequence,
            "time": time,
            "label_set": label_set,
            "weights": weights,
            "embedder": settle_embedder(self._connection, self._tenant.row, embedder),
        }
        self._connection.execute(OBSERVATIONS.insert(), values)
        self._counts["observations"] += 1

    def _owner(self, data: Mapping[str, Any]) -> int | None:
        if data["speaker_id"] not in self._speakers.rows:
            raise InvalidRecordError(f"speaker {data['speaker_id']!r} has no line before this one")
        return self._speakers.rows[data["speaker_id"]]

    def _add_bio(self, data: Mapping[str, Any]) -> None:
        owner = self._owner(data)
        # A bio that does not describe its speaker's turns may hold words of another person.
        if owner is None or not data["current"] or not self._tenant.keeps_text:
            return
        query = select(SPEAKERS.c.basis).where(SPEAKERS.c.speaker == owner)
        basis = self._connection.execute(query).scalar_one()
        # Merges or splits made here: the turns that the bio describes need not be this speaker's.
        if basis != 0 or data["speaker_id"] in self._speakers.divided:
            return
        stored = select(BIOS.c.bio).where(BIOS.c.speaker == owner, BIOS.c.version == data["version"])
        if self._connection.execute(stored).first() is not None:
            return
        before = _checked_point(data)
        values = {
            "tenant": self._tenant.row,
            "speaker": owner,
            "version": data["version"],
            "time": before.time,
            "sequence": self._sequence(before.conversation_id) or before.sequence,
            "conversation_id": before.conversation_id,
            "position": before.index,
            "writer": data["writer"],
            "basis": 0,
            "utterances": data["utterances"],
            "conversations": data["conversations"],
        }
        bio = self._connection.execute(BIOS.insert().values(**values).returning(BIOS.c.bio)).scalar_one()
        passages = tuple(
            Passage(one["text"], one["support"], unpacked(one["vector"])) for one in data["passages"]
        )
        bios.store_passages(self._connection, self._tenant, bio, passages, self._embedder)


def _observation(data: Mapping[str, Any], sequence: int) -> Observation:
    return Observation(
        speaker=SpeakerId(data["speaker_id"]),
        conversation_id=data["conversation_id"],
        utterance_id=data["utterance_id"],
        index=data["index"],
        text=data["text"],
        timestamp=data["timestamp"],
        weights=data["weights"],
        uncertainty=None if data["uncertainty"] is None else StoredUncertainty(**data["uncertainty"]),
        label=None if data["label"] is None else ConversationLabel(**data["label"]),
        correction=data["correction"],
        model=data["model"],
        vector=unpacked(data["vector"]),
        point=Point(float(data["time"]), sequence, data["conversation_id"], data["index"]),
    )


def _checked_point(data: Mapping[str, Any]) -> Point:
    """The point of a bio line, after its numbers and texts were checked."""
    before = Point(**data["before"])
    numbers = [data["version"], data["utterances"], data["conversations"], before.index]
    numbers += [one["support"] for one in data["passages"]]
    if not all(isinstance(number, int) and 0 <= number <= HIGHEST_INDEX for number in numbers):
        raise InvalidRecordError(
            f"version, utterances, conversations, index and support of a bio must be whole numbers: {numbers}"
        )
    for text in (data["writer"], before.conversation_id, *(one["text"] for one in data["passages"])):
        check_text(text, "bio")
    return before
