"""Deletes the rows of a person or a conversation, and their data in other rows."""

from __future__ import annotations

import json
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from sqlalchemy import ColumnElement, Connection, Row, Select, delete, exists, func, or_, select, tuple_

from speakers import audit, bios, identity
from speakers.erasure import requests, retention
from speakers.records import Erasure
from speakers.store.bulk import in_chunks
from speakers.store.tables import ALIASES, AUDIT, BIOS, CONVERSATIONS, MOVES, OBSERVATIONS, SPEAKERS
from speakers.tenant import Tenant, bump, tenant_row

_O = OBSERVATIONS.c
_BIO_POINT = (BIOS.c.time, BIOS.c.sequence, BIOS.c.conversation_id, BIOS.c.position)


@dataclass(frozen=True, slots=True)
class Removal:
    """What one transaction deleted: counts, observation row numbers, and the epochs before and after."""

    erasure: Erasure
    observations: tuple[int, ...]
    epoch_before: int
    epoch_after: int


def delete_speakers(
    connection: Connection, tenant: Tenant, speakers: Sequence[int], *, now: float
) -> Removal:
    """Delete every row about the speakers, and their data in other rows. Safe to repeat."""
    counters = tenant_row(connection, tenant)
    group = sorted({one for speaker in speakers for one in identity.merged_group(connection, speaker)})
    query = select(SPEAKERS.c.speaker_id).where(SPEAKERS.c.speaker.in_(group))
    ids = connection.execute(query.where(SPEAKERS.c.tenant == tenant.row)).scalars().all()
    names = _names(connection, group)
    turns = select(_O.observation).where(_O.speaker.in_(group))
    rows = tuple(connection.execute(turns.order_by(_O.observation)).scalars().all())
    deleted_bios = (
        bios.delete(connection, BIOS.c.speaker.in_(group))
        + _delete_outdated_bios(connection, tenant, ids)
        + _delete_imported_bios(connection, tenant)
    )
    _delete_observations(connection, turns)
    connection.execute(delete(ALIASES).where(ALIASES.c.speaker.in_(group)))
    entries = (AUDIT.c.tenant == tenant.row) & or_(AUDIT.c.speaker_id.in_(ids), AUDIT.c.other_id.in_(ids))
    connection.execute(delete(MOVES).where(MOVES.c.audit.in_(select(AUDIT.c.audit).where(entries))))
    logged = connection.execute(delete(AUDIT).where(entries)).rowcount
    connection.execute(delete(SPEAKERS).where(SPEAKERS.c.speaker.in_(group)))
    _remove_shown_names(connection, tenant, names)
    if ids:
        audit.log(connection, tenant, "forget", now=now, observations=len(rows), bios=deleted_bios)
        bump(connection, tenant, removed=True)
    erasure = Erasure(len(ids), len(rows), deleted_bios, logged)
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
    """Delete conversations as if they had never been recorded.

    This deletes their turns, the bios that may use them, and speakers without any other data. Speakers that
    were found `idle` are deleted too if they still have no data. Speakers whose ids are in `keep` stay.
    """
    counters = tenant_row(connection, tenant)
    deleted_bios = _delete_imported_bios(connection, tenant)
    rows: list[int] = []
    candidates = set(idle)
    for some in in_chunks(conversations):
        inside = (_O.tenant == tenant.row) & _O.conversation_id.in_(some)
        rows += connection.execute(select(_O.observation).where(inside)).scalars().all()
        first_turns = _first_turns(connection, inside)
        for speaker, *point in first_turns:
            deleted_bios += _delete_later_bios(connection, tenant, speaker, point)
        _delete_observations(connection, select(_O.observation).where(inside))
        where = (CONVERSATIONS.c.tenant == tenant.row) & CONVERSATIONS.c.conversation_id.in_(some)
        connection.execute(delete(CONVERSATIONS).where(where))
        scoped = select(SPEAKERS.c.speaker).where(SPEAKERS.c.tenant == tenant.row, SPEAKERS.c.scope.in_(some))
        candidates |= {one.speaker for one in first_turns} | set(connection.execute(scoped).scalars())
    deleted = retention.delete_idle(connection, tenant, sorted(candidates), keep)
    bump(connection, tenant, removed=True)
    requests.request_cleaning(connection, tenant, now=now)
    erasure = Erasure(deleted, len(rows), deleted_bios, 0)
    return Removal(erasure, tuple(sorted(rows)), counters.epoch, counters.epoch + 1)


def _first_turns(connection: Connection, inside: ColumnElement[bool]) -> Sequence[Row]:
    """Each speaker with the point of their first turn in each conversation."""
    # Within a conversation, time follows the index, so both minima belong to the same turn.
    first = (func.min(_O.time), _O.sequence, _O.conversation_id, func.min(_O.position))
    grouped = select(_O.speaker, *first).where(inside)
    return connection.execute(grouped.group_by(_O.speaker, _O.sequence, _O.conversation_id)).all()


def _delete_later_bios(connection: Connection, tenant: Tenant, speaker: int, point: Sequence[object]) -> int:
    """Delete bios that may use a turn at the point: the speaker's own, and outdated ones of related ids."""
    later = tuple_(*_BIO_POINT) > tuple_(*point)
    query = select(SPEAKERS.c.speaker_id).where(SPEAKERS.c.speaker == speaker)
    own = connection.execute(query).scalar_one()
    deleted = bios.delete(connection, (BIOS.c.speaker == speaker) & later)
    return deleted + _delete_outdated_bios(connection, tenant, [own], later)


def _delete_outdated_bios(
    connection: Connection, tenant: Tenant, ids: Sequence[str], among: ColumnElement[bool] | None = None
) -> int:
    """Delete other people's bios that may hold words of the speakers `ids`.

    These are the outdated bios of everybody related to them by a merge or split. A current bio holds words of
    its own speaker only.
    """
    deleted = 0
    for some in in_chunks(sorted(audit.related(connection, tenant, ids))):
        where = bios.outdated(tenant, some)
        deleted += bios.delete(connection, where if among is None else where & among)
    return deleted


def _delete_imported_bios(connection: Connection, tenant: Tenant) -> int:
    """Delete bios with a negative basis.

    An earlier version imported them from before a merge or split, so it is unknown whose words they hold.
    """
    return bios.delete(connection, (BIOS.c.tenant == tenant.row) & (BIOS.c.basis < 0))


def _names(connection: Connection, speakers: Sequence[int]) -> set[tuple[str, str]]:
    """The names that resolve to the speakers, as scope and matching form."""
    rows = connection.execute(select(ALIASES).where(ALIASES.c.speaker.in_(speakers)))
    return {(row.scope, row.match_name) for row in rows}


def _remove_shown_names(connection: Connection, tenant: Tenant, names: set[tuple[str, str]]) -> None:
    """Remove forgotten names where other rows show them: split-off speakers and the log of renames.

    A split-off speaker may show a name that does not resolve to it. It keeps its id and shows no name.
    """
    if tenant.pseudonymous or not names:
        return
    own = exists().where(ALIASES.c.speaker == SPEAKERS.c.speaker, ALIASES.c.name == SPEAKERS.c.name)
    shown = select(SPEAKERS).where(SPEAKERS.c.tenant == tenant.row, SPEAKERS.c.name.is_not(None), ~own)
    for row in connection.execute(shown).all():
        if (row.scope, tenant.match_name(row.name)) in names:
            connection.execute(SPEAKERS.update().where(SPEAKERS.c.speaker == row.speaker).values(name=None))
    renamed = (
        select(AUDIT.c.audit, AUDIT.c.detail, SPEAKERS.c.scope)
        .join(SPEAKERS, SPEAKERS.c.speaker_id == AUDIT.c.speaker_id)
        .where(AUDIT.c.tenant == tenant.row, SPEAKERS.c.tenant == tenant.row, AUDIT.c.action == "rename")
    )
    for row in connection.execute(renamed).all():
        detail = json.loads(row.detail)
        if detail["old"] is not None and (row.scope, tenant.match_name(detail["old"])) in names:
            cleared = json.dumps(detail | {"old": None})
            connection.execute(AUDIT.update().where(AUDIT.c.audit == row.audit).values(detail=cleared))


def _delete_observations(connection: Connection, chosen: Select[tuple[int]]) -> None:
    """Delete observations with their moves, and conversations that are empty afterwards."""
    query = select(_O.tenant, _O.conversation_id).where(_O.observation.in_(chosen)).distinct()
    affected = connection.execute(query).all()
    connection.execute(delete(MOVES).where(MOVES.c.observation.in_(chosen)))
    connection.execute(delete(OBSERVATIONS).where(_O.observation.in_(chosen)))
    for tenant, conversation in affected:
        left = exists().where(_O.tenant == tenant, _O.conversation_id == conversation)
        where = (CONVERSATIONS.c.tenant == tenant) & (CONVERSATIONS.c.conversation_id == conversation)
        connection.execute(delete(CONVERSATIONS).where(where, ~left))
