"""Requests to forget a person, and the digests of forgotten ids and names, which are refused."""

from __future__ import annotations

import json
from collections.abc import Sequence

from sqlalchemy import Connection, Row, delete, func, or_, select

from speakers.records import Erasure
from speakers.store.tables import ALIASES, AUDIT, BIOS, ERASURES, OBSERVATIONS, SPEAKERS, TOMBSTONES
from speakers.tenant import Tenant


def request(
    connection: Connection, tenant: Tenant, speakers: Sequence[int], *, now: float
) -> tuple[int, Erasure]:
    """Store a request to erase these speakers; returns its number and counts of their data.

    From this transaction on, the ids and names of the speakers are refused.
    """
    query = select(SPEAKERS.c.speaker_id).where(SPEAKERS.c.speaker.in_(speakers))
    digests = {tenant.tombstone_of_id(one) for one in connection.execute(query).scalars()}
    names = select(ALIASES.c.scope, ALIASES.c.match_name).where(ALIASES.c.speaker.in_(speakers))
    for row in connection.execute(names):
        digests.add(tenant.tombstone_of_name(row.scope, row.match_name))
    where = (TOMBSTONES.c.tenant == tenant.row) & TOMBSTONES.c.digest.in_(digests)
    known = set(connection.execute(select(TOMBSTONES.c.digest).where(where)).scalars())
    rows = [{"tenant": tenant.row, "digest": digest, "at": now} for digest in sorted(digests - known)]
    if rows:
        connection.execute(TOMBSTONES.insert(), rows)
    values = {"tenant": tenant.row, "speakers": json.dumps(list(speakers)), "at": now}
    number = connection.execute(ERASURES.insert().values(**values).returning(ERASURES.c.erasure)).scalar_one()
    return number, _counted(connection, tenant, speakers)


def request_cleaning(connection: Connection, tenant: Tenant, *, now: float) -> None:
    """Store the request to clean the files of rows that this transaction deletes."""
    connection.execute(ERASURES.insert(), {"tenant": tenant.row, "speakers": "[]", "at": now})


def pending(connection: Connection, tenant: Tenant) -> Sequence[Row]:
    """Requests that are not finished, oldest first."""
    query = select(ERASURES).where(ERASURES.c.tenant == tenant.row).order_by(ERASURES.c.erasure)
    return connection.execute(query).all()


def remove(connection: Connection, tenant: Tenant, requests: Sequence[int]) -> None:
    """Remove finished requests."""
    where = (ERASURES.c.tenant == tenant.row) & ERASURES.c.erasure.in_(requests)
    connection.execute(delete(ERASURES).where(where))


def readmit(connection: Connection, tenant: Tenant, name: str, scope: str) -> bool:
    """Allow a forgotten name again; returns whether it was forgotten. Erased data is not restored.

    Raises:
        InvalidRecordError: the name cannot be stored.
    """
    digest = tenant.tombstone_of_name(scope, tenant.match_name(name))
    where = (TOMBSTONES.c.tenant == tenant.row) & (TOMBSTONES.c.digest == digest)
    return bool(connection.execute(delete(TOMBSTONES).where(where)).rowcount)


def _counted(connection: Connection, tenant: Tenant, speakers: Sequence[int]) -> Erasure:
    query = select(SPEAKERS.c.speaker_id).where(SPEAKERS.c.speaker.in_(speakers))
    ids = connection.execute(query).scalars().all()
    logged = (AUDIT.c.tenant == tenant.row) & or_(AUDIT.c.speaker_id.in_(ids), AUDIT.c.other_id.in_(ids))
    observations, bios, entries = (
        connection.execute(select(func.count()).select_from(table).where(where)).scalar_one()
        for table, where in (
            (OBSERVATIONS, OBSERVATIONS.c.speaker.in_(speakers)),
            (BIOS, BIOS.c.speaker.in_(speakers)),
            (AUDIT, logged),
        )
    )
    return Erasure(len(ids), observations, bios, entries)
