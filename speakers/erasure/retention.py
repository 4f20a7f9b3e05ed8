"""Finds what the retention policy no longer allows."""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence

from sqlalchemy import ColumnElement, Connection, and_, delete, exists, func, select

from speakers.store.bulk import in_chunks
from speakers.store.tables import ALIASES, AUDIT, BIOS, CONVERSATIONS, OBSERVATIONS, SPEAKERS
from speakers.tenant import AHEAD, Tenant

_HOUR, _DAY = 3_600.0, 86_400.0


def expired(connection: Connection, tenant: Tenant, *, now: float) -> tuple[tuple[str, ...], tuple[int, ...]]:
    """Conversations recorded longer ago than the policy allows, and older speakers without any data."""
    if tenant.retention_days is None:
        return (), ()
    limit = now - tenant.retention_days * _DAY
    of_tenant, too_old = CONVERSATIONS.c.tenant == tenant.row, CONVERSATIONS.c.time < limit
    # A conversation with a time in the future, from a wrong clock, expires with the one recorded after it.
    last = select(func.max(CONVERSATIONS.c.sequence)).where(of_tenant, too_old).scalar_subquery()
    misdated = (CONVERSATIONS.c.time > now + AHEAD) & (CONVERSATIONS.c.sequence < last)
    query = select(CONVERSATIONS.c.conversation_id).where(of_tenant, too_old | misdated)
    old = connection.execute(query.order_by(CONVERSATIONS.c.sequence)).scalars()
    long_ago = (SPEAKERS.c.created_at < limit) | (SPEAKERS.c.created_at > now + AHEAD)
    idle = select(SPEAKERS.c.speaker).where(SPEAKERS.c.tenant == tenant.row, long_ago, _without_data())
    return tuple(old), tuple(connection.execute(idle).scalars())


def next_expiry(connection: Connection, tenant: Tenant, *, now: float) -> float:
    """When something may expire next, in UTC seconds.

    It is at most an hour ahead, because other processes write too.
    """
    if tenant.retention_days is None:
        return math.inf
    query = select(func.min(CONVERSATIONS.c.time)).where(CONVERSATIONS.c.tenant == tenant.row)
    oldest = connection.execute(query).scalar()
    return min(now + _HOUR, math.inf if oldest is None else oldest + tenant.retention_days * _DAY)


def delete_idle(
    connection: Connection, tenant: Tenant, candidates: Sequence[int], keep: Collection[str]
) -> int:
    """Delete the candidates without any data, except the ids to keep; returns how many were deleted."""
    deleted = 0
    for some in in_chunks(candidates):
        where = (SPEAKERS.c.tenant == tenant.row, SPEAKERS.c.speaker.in_(some), _without_data())
        rows = connection.execute(select(SPEAKERS.c.speaker, SPEAKERS.c.speaker_id).where(*where)).all()
        idle = [row.speaker for row in rows if row.speaker_id not in keep]
        connection.execute(delete(ALIASES).where(ALIASES.c.speaker.in_(idle)))
        deleted += connection.execute(delete(SPEAKERS).where(SPEAKERS.c.speaker.in_(idle))).rowcount
    return deleted


def _without_data() -> ColumnElement[bool]:
    """The condition that a speaker has no turns, no bio and no logged change, and no merged speakers."""
    merged = SPEAKERS.alias("merged")
    uses = (
        exists().where(OBSERVATIONS.c.speaker == SPEAKERS.c.speaker),
        exists().where(BIOS.c.speaker == SPEAKERS.c.speaker),
        exists().where(merged.c.merged_into == SPEAKERS.c.speaker),
        exists().where(AUDIT.c.tenant == SPEAKERS.c.tenant, AUDIT.c.speaker_id == SPEAKERS.c.speaker_id),
        exists().where(AUDIT.c.tenant == SPEAKERS.c.tenant, AUDIT.c.other_id == SPEAKERS.c.speaker_id),
    )
    return and_(*(~use for use in uses))
