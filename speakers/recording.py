"""Records conversations, each in one transaction, and places their turns in order."""

from __future__ import annotations

import math
from bisect import bisect_left, insort
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from sqlalchemy import Connection, Row, bindparam, select

from speakers.errors import InvalidRecordError, UnknownSpeakerError
from speakers.records import Embedder, Observation, Point, Receipt, check_text
from speakers.store.bulk import in_chunks, insert_rows
from speakers.store.codec import Vocabulary, observation_values
from speakers.store.tables import CONVERSATIONS, OBSERVATIONS, SPEAKERS, TENANTS, TOMBSTONES
from speakers.tenant import AHEAD, Tenant, bump, tenant_row

# Built once: for a small conversation, building a statement costs as much as running it.
_PLACE = select(CONVERSATIONS.c.sequence, CONVERSATIONS.c.time).where(
    CONVERSATIONS.c.tenant == bindparam("of"), CONVERSATIONS.c.conversation_id == bindparam("conversation")
)
_TURNS = (
    select(OBSERVATIONS.c.utterance_id, OBSERVATIONS.c.position, OBSERVATIONS.c.time)
    .where(
        OBSERVATIONS.c.tenant == bindparam("of"), OBSERVATIONS.c.conversation_id == bindparam("conversation")
    )
    .order_by(OBSERVATIONS.c.position)
)
_OWNERS = select(SPEAKERS.c.speaker_id, SPEAKERS.c.speaker, SPEAKERS.c.merged_into).where(
    SPEAKERS.c.tenant == bindparam("of"), SPEAKERS.c.speaker_id.in_(bindparam("ids", expanding=True))
)
_ADVANCE = (
    TENANTS.update()
    .where(TENANTS.c.tenant == bindparam("of"))
    .values(next_sequence=bindparam("next"), clock=bindparam("now"), generation=TENANTS.c.generation + 1)
)
_OPEN = CONVERSATIONS.insert()


@dataclass(frozen=True, slots=True)
class Place:
    """The place of a conversation: its sequence number and the UTC seconds of its first recording."""

    sequence: int
    time: float


def place_of(
    connection: Connection, tenant: Tenant, conversation_id: str, *, now: float, counters: Row
) -> tuple[Place, bool]:
    """The place of a conversation and whether it is stored; for a new one, the place it would get now.

    A conversation recorded later never has an earlier time, even if the clock was set back. A last time more
    than a day in the future is ignored: it came from a wrong clock.
    """
    row = connection.execute(_PLACE, {"of": tenant.row, "conversation": conversation_id}).one_or_none()
    if row is not None:
        return Place(row.sequence, row.time), True
    time = now if counters.clock > now + AHEAD else max(now, counters.clock)
    return Place(counters.next_sequence, time), False


class Timeline:
    """Assigns times to the turns of one conversation that never contradict their order by index.

    A turn without a timestamp gets the time of the turn before it; the first gets the time of the place. A
    timestamp that contradicts a neighbour is replaced by the nearest time that does not.
    """

    def __init__(self, place: Place, stored: Iterable[tuple[int, float]] = ()) -> None:
        self._place = place
        self._turns = sorted(stored)

    def add(self, turns: Sequence[tuple[int, float | None]]) -> list[float]:
        """Add turns (index, timestamp or None) by ascending index, and return their times."""
        times = []
        for index, timestamp in turns:
            at = bisect_left(self._turns, (index, -math.inf))
            earliest = self._turns[at - 1][1] if at else -math.inf
            latest = self._turns[at][1] if at < len(self._turns) else math.inf
            if timestamp is None:
                # A later turn must not set the first one's time: it would change what the first may read.
                timestamp = earliest if at else self._place.time
            time = min(max(timestamp, earliest), latest)
            insort(self._turns, (index, time))
            times.append(time)
        return times


def points(
    connection: Connection,
    tenant: Tenant,
    conversation_id: str,
    turns: Sequence[tuple[int, float | None]],
    *,
    now: float,
) -> tuple[Point, ...]:
    """The points of turns (index, timestamp or None) by ascending index.

    For turns that are not stored, these are the points they would get if recorded now.
    """
    counters = connection.execute(select(TENANTS).where(TENANTS.c.tenant == tenant.row)).one()
    place, known = place_of(connection, tenant, conversation_id, now=now, counters=counters)
    stored = (
        {row.position: row.time for row in _stored_turns(connection, tenant, conversation_id)}
        if known
        else {}
    )
    fresh = [(index, timestamp) for index, timestamp in turns if index not in stored]
    times = stored | dict(
        zip((index for index, _ in fresh), Timeline(place, stored.items()).add(fresh), strict=True)
    )
    return tuple(Point(times[index], place.sequence, conversation_id, index) for index, _ in turns)


def record(
    connection: Connection,
    tenant: Tenant,
    conversation_id: str,
    observations: Sequence[Observation],
    *,
    embedder: Embedder | None,
    vocabulary: Vocabulary,
    now: float,
) -> Receipt:
    """Store the new turns of a conversation, inside a write transaction.

    It locks the tenant first, so that sequence and row numbers increase in the order of commits. Turns that
    are stored already keep their place and content. Turns of forgotten speakers are counted and dropped.

    Raises:
        InvalidRecordError: a turn is of another conversation, repeated, or at the place of another turn.
        UnknownSpeakerError: the tenant has no such speaker.
        EmbedderMismatchError: a vector does not fit the tenant's embedder.
    """
    _check(conversation_id, observations)
    counters = tenant_row(connection, tenant)
    place, known = place_of(connection, tenant, conversation_id, now=now, counters=counters)
    stored = _stored_turns(connection, tenant, conversation_id) if known else []
    owners, erased = _owners(connection, tenant, {observation.speaker for observation in observations})
    ids, taken = {row.utterance_id for row in stored}, {row.position: row.utterance_id for row in stored}
    fresh = sorted(
        (one for one in observations if one.utterance_id not in ids and one.speaker not in erased),
        key=lambda one: one.index,
    )
    for one in fresh:
        check_place(one, taken.setdefault(one.index, one.utterance_id))
    dropped = sum(one.utterance_id not in ids and one.speaker in erased for one in observations)
    receipt = Receipt(conversation_id, len(fresh), len(observations) - len(fresh) - dropped, dropped)
    if not fresh:
        return receipt
    if not known:
        connection.execute(
            _OPEN,
            {
                "tenant": tenant.row,
                "conversation_id": conversation_id,
                "sequence": place.sequence,
                "time": place.time,
            },
        )
    times = Timeline(place, ((row.position, row.time) for row in stored)).add(
        [(one.index, one.timestamp) for one in fresh]
    )
    rows = _rows(connection, tenant, fresh, times, place, owners, embedder, vocabulary)
    insert_rows(connection, OBSERVATIONS, rows)
    if known:
        bump(connection, tenant)
    else:
        connection.execute(_ADVANCE, {"of": tenant.row, "next": place.sequence + 1, "now": place.time})
    return receipt


def _rows(
    connection: Connection,
    tenant: Tenant,
    fresh: Sequence[Observation],
    times: Sequence[float],
    place: Place,
    owners: dict[str, int],
    embedder: Embedder | None,
    vocabulary: Vocabulary,
) -> list[dict[str, object]]:
    with_vectors = embedder if any(one.vector is not None for one in fresh) else None
    embedder_row = vocabulary.settle(connection, with_vectors)
    width = None if with_vectors is None else with_vectors.width
    rows = []
    for one, time in zip(fresh, times, strict=True):
        values = observation_values(one, keeps_text=tenant.keeps_text, width=width)
        label_set, weights = vocabulary.encode(connection, one.weights)
        values |= {
            "tenant": tenant.row,
            "speaker": owners[one.speaker],
            "sequence": place.sequence,
            "time": time,
            "label_set": label_set,
            "weights": weights,
            "embedder": None if one.vector is None else embedder_row,
        }
        rows.append(values)
    return rows


def check_place(one: Observation, holder: str | None) -> None:
    """Check that no other turn is at this turn's place. `holder` is the utterance id stored there.

    Raises:
        InvalidRecordError: another turn is there.
    """
    if holder not in (None, one.utterance_id):
        raise InvalidRecordError(
            f"conversation {one.conversation_id!r}: turn {one.index} is already {holder!r}, not "
            f"{one.utterance_id!r}"
        )


def _check(conversation_id: str, observations: Sequence[Observation]) -> None:
    seen: set[str] = set()
    for one in observations:
        if one.conversation_id != conversation_id:
            raise InvalidRecordError(
                f"utterance {one.utterance_id!r} belongs to {one.conversation_id!r}, not to "
                f"{conversation_id!r}"
            )
        if one.utterance_id in seen:
            raise InvalidRecordError(
                f"conversation {conversation_id!r}: utterance id {one.utterance_id!r} is repeated"
            )
        seen.add(one.utterance_id)


def _stored_turns(connection: Connection, tenant: Tenant, conversation_id: str) -> Sequence[Row]:
    return connection.execute(_TURNS, {"of": tenant.row, "conversation": conversation_id}).all()


def _owners(connection: Connection, tenant: Tenant, speakers: set[str]) -> tuple[dict[str, int], set[str]]:
    """Row numbers of the speakers after merges, and the ids of those that were forgotten."""
    found: dict[str, int] = {}
    wanted = sorted(speakers)
    for few in in_chunks(wanted):
        for row in connection.execute(_OWNERS, {"of": tenant.row, "ids": few}).all():
            target, merged = row.speaker, row.merged_into
            while merged is not None:
                target = merged
                merged = connection.execute(
                    select(SPEAKERS.c.merged_into).where(SPEAKERS.c.speaker == target)
                ).scalar_one()
            found[row.speaker_id] = target
    missing = {tenant.tombstone_of_id(speaker): speaker for speaker in wanted if speaker not in found}
    if not missing:
        return found, set()
    where = (TOMBSTONES.c.tenant == tenant.row) & TOMBSTONES.c.digest.in_(list(missing))
    digests = connection.execute(select(TOMBSTONES.c.digest).where(where)).scalars()
    erased = {missing[digest] for digest in digests}
    unknown = set(missing.values()) - erased
    if unknown:
        raise UnknownSpeakerError(f"no speaker {min(unknown)!r} in this memory; resolve the name first")
    return found, erased


def texts(connection: Connection, tenant: Tenant, conversation_id: str) -> dict[str, str | None]:
    """The stored words of a conversation by utterance id; None where words are not stored."""
    columns = OBSERVATIONS.c
    where = (columns.tenant == tenant.row) & (columns.conversation_id == conversation_id)
    rows = connection.execute(select(columns.utterance_id, columns.text).where(where))
    return {row.utterance_id: row.text for row in rows}


def correct(
    connection: Connection, tenant: Tenant, conversation_id: str, utterance_id: str, emotion: str | None
) -> None:
    """Store a person's correction of a turn; None removes it.

    Raises:
        InvalidRecordError: the turn is not stored, or the emotion is empty or cannot be stored.
    """
    if emotion is not None and not check_text(emotion, "correction").strip():
        raise InvalidRecordError("a correction needs an emotion")
    columns = OBSERVATIONS.c
    where = (
        (columns.tenant == tenant.row)
        & (columns.conversation_id == conversation_id)
        & (columns.utterance_id == utterance_id)
    )
    if not connection.execute(OBSERVATIONS.update().where(where).values(correction=emotion)).rowcount:
        raise InvalidRecordError(
            f"no utterance {utterance_id!r} of conversation {conversation_id!r} is stored; "
            "'erc speakers show' lists both ids"
        )
