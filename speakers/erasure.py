"""Forgetting: a person, a conversation, or all that is older than the policy allows.

Erasing is done in steps, each safe to repeat: the intent and the tombstones are committed, then the rows are
deleted, then the files are cleaned, then the intent is struck out. Whatever step a crash interrupts, the next
open goes on from there.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from sqlalchemy import ColumnElement, Connection, Row, Select, and_, delete, exists, func, or_, select, tuple_

from speakers import audit, bios, identity
from speakers.errors import ErasureIncompleteError, StoreError
from speakers.records import Erasure
from speakers.store import Store
from speakers.store.bulk import in_chunks
from speakers.store.tables import (
    ALIASES,
    AUDIT,
    BIOS,
    CONVERSATIONS,
    ERASURES,
    MOVES,
    OBSERVATIONS,
    SPEAKERS,
    TENANTS,
    TOMBSTONES,
)
from speakers.tenant import AHEAD, Tenant, bump, tenant_row
from speakers.vectors import index_file

_O = OBSERVATIONS.c
_HOUR, _DAY = 3_600.0, 86_400.0
_TOUCHED = (
    "speakers",
    "aliases",
    "audit",
    "conversations",
    "observations",
    "moves",
    "bios",
    "passages",
    "erasures",
)


@dataclass(frozen=True, slots=True)
class Removal:
    """What one transaction deleted, and the epochs on both sides of it."""

    erasure: Erasure
    observations: tuple[int, ...]
    epoch_before: int
    epoch_after: int


def intend(
    connection: Connection, tenant: Tenant, speakers: Sequence[int], *, now: float
) -> tuple[int, Erasure]:
    """Commit to erasing these speakers: tombstones keep their ids and names out from this transaction on.

    Returns the number of the intent, and the counts of what is theirs now.
    """
    digests = {
        tenant.tombstone_of_id(speaker_id)
        for speaker_id in connection.execute(
            select(SPEAKERS.c.speaker_id).where(SPEAKERS.c.speaker.in_(speakers))
        ).scalars()
    }
    names = connection.execute(
        select(ALIASES.c.scope, ALIASES.c.match_name).where(ALIASES.c.speaker.in_(speakers))
    )
    digests |= {tenant.tombstone_of_name(row.scope, row.match_name) for row in names}
    known = set(
        connection.execute(
            select(TOMBSTONES.c.digest).where(
                TOMBSTONES.c.tenant == tenant.row, TOMBSTONES.c.digest.in_(digests)
            )
        ).scalars()
    )
    rows = [{"tenant": tenant.row, "digest": digest, "at": now} for digest in sorted(digests - known)]
    if rows:
        connection.execute(TOMBSTONES.insert(), rows)
    values = {"tenant": tenant.row, "speakers": json.dumps(list(speakers)), "at": now}
    return connection.execute(
        ERASURES.insert().values(**values).returning(ERASURES.c.erasure)
    ).scalar_one(), _counted(connection, tenant, speakers)


def _counted(connection: Connection, tenant: Tenant, speakers: Sequence[int]) -> Erasure:
    ids = (
        connection.execute(select(SPEAKERS.c.speaker_id).where(SPEAKERS.c.speaker.in_(speakers)))
        .scalars()
        .all()
    )
    logged = (AUDIT.c.tenant == tenant.row) & or_(AUDIT.c.speaker_id.in_(ids), AUDIT.c.other_id.in_(ids))
    parts = ((OBSERVATIONS, _O.speaker.in_(speakers)), (BIOS, BIOS.c.speaker.in_(speakers)), (AUDIT, logged))
    return Erasure(
        len(ids),
        *(
            connection.execute(select(func.count()).select_from(table).where(where)).scalar_one()
            for table, where in parts
        ),
    )


def pending(connection: Connection, tenant: Tenant) -> Sequence[Row]:
    """Erasures that were begun and not finished."""
    return connection.execute(
        select(ERASURES).where(ERASURES.c.tenant == tenant.row).order_by(ERASURES.c.erasure)
    ).all()


def delete_speakers(
    connection: Connection, tenant: Tenant, speakers: Sequence[int], *, now: float
) -> Removal:
    """Delete every row about the speakers, and what other rows hold of them. Nothing is left to delete when this is repeated."""
    counters = tenant_row(connection, tenant)
    group = sorted({member for speaker in speakers for member in identity.family(connection, speaker)})
    ids = (
        connection.execute(
            select(SPEAKERS.c.speaker_id).where(
                SPEAKERS.c.speaker.in_(group), SPEAKERS.c.tenant == tenant.row
            )
        )
        .scalars()
        .all()
    )
    called = _names(connection, group)
    rows = tuple(
        connection.execute(select(_O.observation).where(_O.speaker.in_(group)).order_by(_O.observation))
        .scalars()
        .all()
    )
    told = (
        bios.delete(connection, BIOS.c.speaker.in_(group))
        + _delete_borrowed(connection, tenant, ids)
        + _delete_strange(connection, tenant)
    )
    _delete_observations(connection, select(_O.observation).where(_O.speaker.in_(group)))
    connection.execute(delete(ALIASES).where(ALIASES.c.speaker.in_(group)))
    entries = (AUDIT.c.tenant == tenant.row) & or_(AUDIT.c.speaker_id.in_(ids), AUDIT.c.other_id.in_(ids))
    connection.execute(delete(MOVES).where(MOVES.c.audit.in_(select(AUDIT.c.audit).where(entries))))
    logged = connection.execute(delete(AUDIT).where(entries)).rowcount
    connection.execute(delete(SPEAKERS).where(SPEAKERS.c.speaker.in_(group)))
    _unname(connection, tenant, called)
    erasure = Erasure(len(ids), len(rows), told, logged)
    if ids:
        audit.log(connection, tenant, "forget", now=now, observations=len(rows), bios=told)
        bump(connection, tenant, removed=True)
    return Removal(erasure, rows, counters.epoch, counters.epoch + bool(ids))


def delete_conversations(
    connection: Connection,
    tenant: Tenant,
    conversations: Sequence[str],
    *,
    now: float,
    idle: Sequence[int] = (),
    keep: Collection[str] = (),
) -> Removal:
    """Delete conversations as if they had never been taken in: turns, the bios that may draw on them, and speakers known from nowhere else.

    Speakers found `idle` before go too, if they are so still; those whose ids are in `keep` stay.
    """
    counters = tenant_row(connection, tenant)
    told = _delete_strange(connection, tenant)
    rows: list[int] = []
    candidates = set(idle)
    for few in in_chunks(conversations):
        inside = (_O.tenant == tenant.row) & _O.conversation_id.in_(few)
        rows += connection.execute(select(_O.observation).where(inside)).scalars().all()
        first = (
            func.min(_O.time),
            _O.sequence,
            _O.conversation_id,
            func.min(_O.position),
        )  # within a conversation time follows the index
        heard = connection.execute(
            select(_O.speaker, *first).where(inside).group_by(_O.speaker, _O.sequence, _O.conversation_id)
        ).all()
        for speaker, *point in heard:
            later = tuple_(BIOS.c.time, BIOS.c.sequence, BIOS.c.conversation_id, BIOS.c.position) > tuple_(
                *point
            )
            own = connection.execute(
                select(SPEAKERS.c.speaker_id).where(SPEAKERS.c.speaker == speaker)
            ).scalar_one()
            told += bios.delete(connection, (BIOS.c.speaker == speaker) & later) + _delete_borrowed(
                connection, tenant, [own], later
            )
        _delete_observations(connection, select(_O.observation).where(inside))
        connection.execute(
            delete(CONVERSATIONS).where(
                CONVERSATIONS.c.tenant == tenant.row, CONVERSATIONS.c.conversation_id.in_(few)
            )
        )
        scoped = select(SPEAKERS.c.speaker).where(SPEAKERS.c.tenant == tenant.row, SPEAKERS.c.scope.in_(few))
        candidates |= {one.speaker for one in heard} | set(connection.execute(scoped).scalars())
    gone = _delete_idle(connection, tenant, sorted(candidates), keep)
    erasure = Erasure(gone, len(rows), told, 0)
    bump(connection, tenant, removed=True)
    connection.execute(ERASURES.insert(), {"tenant": tenant.row, "speakers": "[]", "at": now})
    return Removal(erasure, tuple(sorted(rows)), counters.epoch, counters.epoch + 1)


def expired(connection: Connection, tenant: Tenant, *, now: float) -> tuple[tuple[str, ...], tuple[int, ...]]:
    """The conversations taken in longer ago than the tenant's policy allows, and the speakers met before then of whom nothing is kept."""
    if tenant.retention_days is None:
        return (), ()
    limit = now - tenant.retention_days * _DAY
    mine, too_old = CONVERSATIONS.c.tenant == tenant.row, CONVERSATIONS.c.time < limit
    # What a wrong clock dated ahead was taken in before the conversation that follows it, and goes with that
    # one.
    last = select(func.max(CONVERSATIONS.c.sequence)).where(mine, too_old).scalar_subquery()
    misdated = (CONVERSATIONS.c.time > now + AHEAD) & (CONVERSATIONS.c.sequence < last)
    old = connection.execute(
        select(CONVERSATIONS.c.conversation_id)
        .where(mine, too_old | misdated)
        .order_by(CONVERSATIONS.c.sequence)
    ).scalars()
    long_ago = (SPEAKERS.c.created_at < limit) | (SPEAKERS.c.created_at > now + AHEAD)
    met = select(SPEAKERS.c.speaker).where(SPEAKERS.c.tenant == tenant.row, long_ago, _idle())
    return tuple(old), tuple(connection.execute(met).scalars())


def next_expiry(connection: Connection, tenant: Tenant, *, now: float) -> float:
    """When something may be too old next, in UTC seconds: looked for once an hour at least, for others write here too."""
    if tenant.retention_days is None:
        return math.inf
    oldest = connection.execute(
        select(func.min(CONVERSATIONS.c.time)).where(CONVERSATIONS.c.tenant == tenant.row)
    ).scalar()
    return min(now + _HOUR, math.inf if oldest is None else oldest + tenant.retention_days * _DAY)


def finish(store: Store, tenant: Tenant, erasures: Sequence[int], *, patience: float) -> None:
    """Clean the files of what deleted rows left behind, then strike the intents out. Raises ErasureIncompleteError after `patience` seconds."""
    try:
        scrub(store, tenant, patience=patience)
        with store.write() as connection:
            connection.execute(
                delete(ERASURES).where(ERASURES.c.tenant == tenant.row, ERASURES.c.erasure.in_(erasures))
            )
        checkpoint(store, patience=patience)
    except StoreError as error:
        raise ErasureIncompleteError(
            f"the rows are deleted, but cleaning the files failed and goes on at the next open: {error}"
        ) from None


def scrub(store: Store, tenant: Tenant, *, patience: float) -> None:
    """Remove cached derivations and rewrite the database, so that no page, log or index keeps deleted bytes.

    `secure_delete` zeroes deleted cells, but a page that was split or balanced earlier may still hold a stale
    copy of a row that moved on; only a rewrite is sure to leave it behind.
    """
    if store.path is not None:
        index_file.remove(store.path, tenant.row)
    with store.bare() as connection:
        if store.path is None:
            connection.exec_driver_sql(f"VACUUM FULL {', '.join(_TOUCHED)}")
        else:
            connection.exec_driver_sql(
                "PRAGMA temp_store = FILE"
            )  # the rewritten copy may be larger than memory, and holds nothing deleted
            try:
                connection.exec_driver_sql("VACUUM")
            finally:
                connection.exec_driver_sql("PRAGMA temp_store = MEMORY")
    checkpoint(store, patience=patience)


def checkpoint(store: Store, *, patience: float) -> None:
    """Move SQLite's write-ahead log into the database and cut it to nothing. Raises ErasureIncompleteError where a reader prevents it too long."""
    if store.path is None:
        return
    deadline = time.monotonic() + patience
    with store.bare() as connection:
        while connection.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)").one()[0]:
            if time.monotonic() > deadline:
                raise ErasureIncompleteError(
                    f"{store.address}: another process is reading, so its log still holds old pages; the next open finishes"
                )
            time.sleep(0.05)


def _delete_borrowed(
    connection: Connection, tenant: Tenant, ids: Sequence[str], among: ColumnElement[bool] | None = None
) -> int:
    """Delete other people's bios that may hold words of the speakers `ids`: the resting ones (of those `among` names) of everybody a merge
    or a split ever tied to them. A bio that still describes its speaker holds words of that speaker alone."""
    deleted = 0
    for kin in in_chunks(sorted(audit.tied(connection, tenant, ids))):
        where = bios.resting(tenant, kin)
        deleted += bios.delete(connection, where if among is None else where & among)
    return deleted


def _delete_strange(connection: Connection, tenant: Tenant) -> int:
    """Delete bios that an import brought from before a merge or split: nothing here tells any more whose words they hold."""
    return bios.delete(connection, (BIOS.c.tenant == tenant.row) & (BIOS.c.basis < 0))


def _names(connection: Connection, speakers: Sequence[int]) -> set[tuple[str, str]]:
    """The names that lead to the speakers, as scope and matching form."""
    return {
        (row.scope, row.match_name)
        for row in connection.execute(select(ALIASES).where(ALIASES.c.speaker.in_(speakers)))
    }


def _unname(connection: Connection, tenant: Tenant, called: set[tuple[str, str]]) -> None:
    """Take forgotten names off those who show one without answering to it, split off under it, and off what the log remembers of renamings.

    They stay who they are, by their ids, and show no name until they are given one.
    """
    if tenant.pseudonymous or not called:
        return
    own = exists().where(ALIASES.c.speaker == SPEAKERS.c.speaker, ALIASES.c.name == SPEAKERS.c.name)
    shown = select(SPEAKERS).where(SPEAKERS.c.tenant == tenant.row, SPEAKERS.c.name.is_not(None), ~own)
    for row in connection.execute(shown).all():
        if (row.scope, tenant.match_name(row.name)) in called:
            connection.execute(SPEAKERS.update().where(SPEAKERS.c.speaker == row.speaker).values(name=None))
    renamed = select(AUDIT.c.audit, AUDIT.c.detail, SPEAKERS.c.scope).join(
        SPEAKERS, SPEAKERS.c.speaker_id == AUDIT.c.speaker_id
    )
    mine = (AUDIT.c.tenant == tenant.row, SPEAKERS.c.tenant == tenant.row, AUDIT.c.action == "rename")
    for row in connection.execute(renamed.where(*mine)).all():
        detail = json.loads(row.detail)
        if detail["old"] is not None and (row.scope, tenant.match_name(detail["old"])) in called:
            connection.execute(
                AUDIT.update()
                .where(AUDIT.c.audit == row.audit)
                .values(detail=json.dumps(detail | {"old": None}))
            )


def _delete_observations(connection: Connection, chosen: Select[tuple[int]]) -> None:
    """Delete observations with their moves, and conversations that are empty then."""
    heard = connection.execute(
        select(_O.tenant, _O.conversation_id).where(_O.observation.in_(chosen)).distinct()
    ).all()
    connection.execute(delete(MOVES).where(MOVES.c.observation.in_(chosen)))
    connection.execute(delete(OBSERVATIONS).where(_O.observation.in_(chosen)))
    for tenant, conversation in heard:
        left = exists().where(_O.tenant == tenant, _O.conversation_id == conversation)
        connection.execute(
            delete(CONVERSATIONS).where(
                CONVERSATIONS.c.tenant == tenant, CONVERSATIONS.c.conversation_id == conversation, ~left
            )
        )


def _idle() -> ColumnElement[bool]:
    """The predicate "nothing would be lost with this speaker": no turns, no bio, no logged change, nobody merged into it."""
    merged = SPEAKERS.alias("merged")
    uses = (
        exists().where(_O.speaker == SPEAKERS.c.speaker),
        exists().where(BIOS.c.speaker == SPEAKERS.c.speaker),
        exists().where(merged.c.merged_into == SPEAKERS.c.speaker),
        exists().where(AUDIT.c.tenant == SPEAKERS.c.tenant, AUDIT.c.speaker_id == SPEAKERS.c.speaker_id),
        exists().where(AUDIT.c.tenant == SPEAKERS.c.tenant, AUDIT.c.other_id == SPEAKERS.c.speaker_id),
    )
    return and_(*(~use for use in uses))


def _delete_idle(
    connection: Connection, tenant: Tenant, candidates: Sequence[int], keep: Collection[str]
) -> int:
    """Delete those speakers of whom nothing is kept; how many they were."""
    gone = 0
    for some in in_chunks(candidates):
        where = (SPEAKERS.c.tenant == tenant.row, SPEAKERS.c.speaker.in_(some), _idle())
        rows = connection.execute(select(SPEAKERS.c.speaker, SPEAKERS.c.speaker_id).where(*where)).all()
        few = [row.speaker for row in rows if row.speaker_id not in keep]
        connection.execute(delete(ALIASES).where(ALIASES.c.speaker.in_(few)))
        gone += connection.execute(delete(SPEAKERS).where(SPEAKERS.c.speaker.in_(few))).rowcount
    return gone


def readmit(connection: Connection, tenant: Tenant, name: str, scope: str) -> bool:
    """Lift the tombstone of a name, for another person who bears it; whether there was one. What was erased does not come back."""
    digest = tenant.tombstone_of_name(scope, tenant.match_name(name))
    return bool(
        connection.execute(
            delete(TOMBSTONES).where(TOMBSTONES.c.tenant == tenant.row, TOMBSTONES.c.digest == digest)
        ).rowcount
    )


def tenants_of(connection: Connection) -> tuple[str, ...]:
    """The names of all tenants of the store."""
    return tuple(connection.execute(select(TENANTS.c.name).order_by(TENANTS.c.tenant)).scalars())
