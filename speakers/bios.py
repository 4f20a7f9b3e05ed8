"""Stores bios: versioned passages about a speaker, each written from turns before one point."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from sqlalchemy import ColumnElement, Connection, Row, bindparam, exists, func, select, tuple_

from speakers.bio_text import write_from_history
from speakers.errors import InvalidRecordError
from speakers.records import Bio, Embedder, Observation, Passage, Point
from speakers.store.codec import settle_embedder, vector_array, vector_bytes
from speakers.store.tables import BIOS, PASSAGES, SPEAKERS
from speakers.tenant import Tenant

Embed = Callable[[Sequence[str]], np.ndarray]
"""Turns texts into vectors of shape (len(texts), width), as `encode` of a sentence encoder does."""

MOST_TURNS = 5_000
"""A bio is written from at most this many turns, the last ones."""


@dataclass(frozen=True, slots=True)
class BioWriter:
    """A way to write a bio: its name, stored with the bio, and a function of past turns, oldest first."""

    name: str
    write: Callable[[Sequence[Observation]], Sequence[Passage]]


DETERMINISTIC = BioWriter("history/1", write_from_history)
"""Writes from counts alone, see `speakers.bio_text`."""


def store(
    connection: Connection,
    tenant: Tenant,
    speaker: Row,
    *,
    before: Point,
    turns: Sequence[Observation],
    writer: BioWriter,
    passages: Sequence[Passage],
    embedder: Embedder | None,
) -> Bio:
    """Store a bio as the speaker's next version, inside a write transaction.

    Raises:
        EmbedderMismatchError: the vectors of the passages do not fit the tenant's embedder.
    """
    query = select(func.max(BIOS.c.version)).where(BIOS.c.speaker == speaker.speaker)
    version = 1 + (connection.execute(query).scalar() or 0)
    conversations = len({turn.conversation_id for turn in turns})
    values = {
        "tenant": tenant.row,
        "speaker": speaker.speaker,
        "version": version,
        "time": before.time,
        "sequence": before.sequence,
        "conversation_id": before.conversation_id,
        "position": before.index,
        "writer": writer.name,
        "basis": speaker.basis,
        "utterances": len(turns),
        "conversations": conversations,
    }
    row = connection.execute(BIOS.insert().values(**values).returning(BIOS.c.bio)).scalar_one()
    store_passages(connection, tenant, row, passages, embedder)
    return Bio(version, writer.name, before, len(turns), conversations, tuple(passages))


def store_passages(
    connection: Connection, tenant: Tenant, bio: int, passages: Sequence[Passage], embedder: Embedder | None
) -> None:
    """Store the passages of a bio, with their vectors if they have any.

    Raises:
        EmbedderMismatchError: the vectors do not fit the tenant's embedder.
    """
    with_vectors = any(passage.vector is not None for passage in passages)
    embedder_row = settle_embedder(connection, tenant.row, embedder if with_vectors else None)
    rows = []
    for position, passage in enumerate(passages):
        vector = None
        if passage.vector is not None and embedder is not None:
            vector = vector_bytes(passage.vector, embedder.width)
        rows.append(
            {
                "bio": bio,
                "position": position,
                "text": passage.text,
                "support": passage.support,
                "embedder": None if passage.vector is None else embedder_row,
                "vector": vector,
            }
        )
    if rows:
        connection.execute(PASSAGES.insert(), rows)


def embedded(passages: Sequence[Passage], embed: Embed | None) -> tuple[Passage, ...]:
    """The passages with vectors of their texts, or unchanged without `embed`.

    Raises:
        InvalidRecordError: `embed` returned another shape or numbers that are not finite.
    """
    if embed is None or not passages:
        return tuple(passages)
    vectors = np.asarray(embed([passage.text for passage in passages]))
    if vectors.ndim != 2 or len(vectors) != len(passages) or not np.isfinite(vectors).all():
        raise InvalidRecordError(
            f"the embedder returned shape {vectors.shape} for {len(passages)} passages; it must return "
            "one row of finite numbers for each"
        )
    return tuple(replace(passage, vector=vector) for passage, vector in zip(passages, vectors, strict=True))


_POINT = (BIOS.c.time, BIOS.c.sequence, BIOS.c.conversation_id, BIOS.c.position)
_CURRENT = (
    select(BIOS)
    .where(BIOS.c.speaker == bindparam("of"), BIOS.c.basis == bindparam("basis_now"))
    .where(tuple_(*_POINT) <= tuple_(*(bindparam(column.name, type_=column.type) for column in _POINT)))
    .order_by(BIOS.c.version.desc())
    .limit(1)
)


def current(connection: Connection, speaker: Row, *, before: Point, width: int | None) -> Bio | None:
    """The latest bio that uses only turns before a point and still describes this speaker's turns."""
    bounds = {
        "time": before.time,
        "sequence": before.sequence,
        "conversation_id": before.conversation_id,
        "position": before.index,
    }
    row = connection.execute(
        _CURRENT, bounds | {"of": speaker.speaker, "basis_now": speaker.basis}
    ).one_or_none()
    return None if row is None else _bio(connection, row, width)


def versions(connection: Connection, speaker: Row, *, width: int | None) -> tuple[tuple[Bio, bool], ...]:
    """All versions, oldest first, each with whether it still describes the speaker's turns."""
    rows = connection.execute(
        select(BIOS).where(BIOS.c.speaker == speaker.speaker).order_by(BIOS.c.version)
    ).all()
    return tuple((_bio(connection, row, width), row.basis == speaker.basis) for row in rows)


def outdated(tenant: Tenant, speakers: Sequence[str]) -> ColumnElement[bool]:
    """A condition that selects bios of these ids that do not describe their current turns.

    Such a bio may hold words that belong to another speaker now. This includes every bio of a speaker merged
    into another, because their turns may have been split off from there.
    """
    theirs = select(SPEAKERS.c.speaker).where(
        SPEAKERS.c.tenant == tenant.row, SPEAKERS.c.speaker_id.in_(speakers)
    )
    describes = exists().where(
        SPEAKERS.c.speaker == BIOS.c.speaker,
        SPEAKERS.c.basis == BIOS.c.basis,
        SPEAKERS.c.merged_into.is_(None),
    )
    return BIOS.c.speaker.in_(theirs) & ~describes


def delete(connection: Connection, where: ColumnElement[bool]) -> int:
    """Delete bios with their passages; returns the number of bios."""
    connection.execute(PASSAGES.delete().where(PASSAGES.c.bio.in_(select(BIOS.c.bio).where(where))))
    return connection.execute(BIOS.delete().where(where)).rowcount


def _bio(connection: Connection, row: Row, width: int | None) -> Bio:
    rows = connection.execute(
        select(PASSAGES).where(PASSAGES.c.bio == row.bio).order_by(PASSAGES.c.position)
    ).all()
    passages = tuple(
        Passage(
            one.text,
            one.support,
            None if one.vector is None or width is None else vector_array(one.vector, width),
        )
        for one in rows
    )
    before = Point(row.time, row.sequence, row.conversation_id, row.position)
    return Bio(row.version, row.writer, before, row.utterances, row.conversations, passages)
