"""The log of changes to identities."""

from __future__ import annotations

import json
from typing import Any

from sqlalchemy import Connection, Row, or_, select

from speakers.records import AuditEntry, SpeakerId
from speakers.store.tables import AUDIT
from speakers.tenancy import Tenant


def log(
    connection: Connection, tenant: Tenant, action: str, *, now: float, speaker: str | None = None, other: str | None = None, **detail: Any
) -> int:
    """Write an entry and return its number."""
    values = {"tenant": tenant.row, "at": now, "action": action, "speaker_id": speaker, "other_id": other, "detail": json.dumps(detail)}
    return connection.execute(AUDIT.insert().values(**values).returning(AUDIT.c.audit)).scalar_one()


def entries(connection: Connection, tenant: Tenant, *, speakers: tuple[str, ...] | None = None) -> tuple[AuditEntry, ...]:
    """All entries, or those that touch any of the speakers, oldest first."""
    query = select(AUDIT).where(AUDIT.c.tenant == tenant.row).order_by(AUDIT.c.audit)
    if speakers is not None:
        query = query.where(or_(AUDIT.c.speaker_id.in_(speakers), AUDIT.c.other_id.in_(speakers)))
    return tuple(entry(row) for row in connection.execute(query))


def entry(row: Row) -> AuditEntry:
    """An entry from its row."""
    speaker = None if row.speaker_id is None else SpeakerId(row.speaker_id)
    other = None if row.other_id is None else SpeakerId(row.other_id)
    return AuditEntry(row.audit, row.at, row.action, speaker, other, json.loads(row.detail), row.undone_by)
