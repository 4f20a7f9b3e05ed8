"""The log of identity changes."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

from sqlalchemy import Connection, Row, or_, select

from speakers.records import AuditEntry, LoggedNames, SpeakerId
from speakers.store.bulk import CHUNK, in_chunks
from speakers.store.tables import ALIASES, AUDIT, SPEAKERS
from speakers.tenant import Tenant


def log(
    connection: Connection,
    tenant: Tenant,
    action: str,
    *,
    now: float,
    speaker: str | None = None,
    other: str | None = None,
    **detail: Any,
) -> int:
    """Write an entry; returns its number."""
    values = {
        "tenant": tenant.row,
        "at": now,
        "action": action,
        "speaker_id": speaker,
        "other_id": other,
        "detail": json.dumps(detail),
    }
    return connection.execute(AUDIT.insert().values(**values).returning(AUDIT.c.audit)).scalar_one()


def entries(
    connection: Connection, tenant: Tenant, *, speakers: tuple[str, ...] | None = None
) -> tuple[AuditEntry, ...]:
    """All entries, or those that concern any of the speakers, oldest first."""
    query = select(AUDIT).where(AUDIT.c.tenant == tenant.row).order_by(AUDIT.c.audit)
    if speakers is not None:
        query = query.where(or_(AUDIT.c.speaker_id.in_(speakers), AUDIT.c.other_id.in_(speakers)))
    return tuple(entry(row) for row in connection.execute(query))


def related(connection: Connection, tenant: Tenant, speakers: Iterable[str]) -> set[str]:
    """These ids and all ids linked to them by merges or splits, directly or not, undone or not.

    Turns of one of them may once have belonged to another.
    """
    found = set(speakers)
    fresh = sorted(found)
    while fresh:
        few, fresh = fresh[:CHUNK], fresh[CHUNK:]
        where = (AUDIT.c.tenant == tenant.row) & or_(AUDIT.c.speaker_id.in_(few), AUDIT.c.other_id.in_(few))
        rows = connection.execute(
            select(AUDIT.c.speaker_id, AUDIT.c.other_id).where(where, AUDIT.c.other_id.is_not(None))
        )
        near = {one for row in rows for one in row} - found - {None}
        found |= near
        fresh += sorted(near)
    return found


def names(connection: Connection, tenant: Tenant, logged: Iterable[AuditEntry]) -> LoggedNames:
    """The current names of the people and aliases in entries; a merged speaker keeps its own name."""
    found, ids, numbers = LoggedNames({}, {}), set[str](), set[int]()
    for one in logged:
        ids |= {who for who in (one.speaker_id, one.other_id) if who is not None}
        numbers |= {number for number in (one.detail.get("alias"),) if isinstance(number, int)}
    for table, key, wanted, into in (
        (SPEAKERS, SPEAKERS.c.speaker_id, ids, found.speakers),
        (ALIASES, ALIASES.c.alias, numbers, found.aliases),
    ):
        for some in in_chunks(sorted(wanted)):
            few = (table.c.tenant == tenant.row) & key.in_(some)
            into.update(
                (row[0], row.name) for row in connection.execute(select(key, table.c.name).where(few))
            )
    return found


def entry(row: Row) -> AuditEntry:
    """The entry of a row."""
    speaker = None if row.speaker_id is None else SpeakerId(row.speaker_id)
    other = None if row.other_id is None else SpeakerId(row.other_id)
    return AuditEntry(row.audit, row.at, row.action, speaker, other, json.loads(row.detail), row.undone_by)
