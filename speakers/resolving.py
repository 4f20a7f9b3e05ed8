"""Resolves the names of a conversation to speakers and creates the new ones."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import Connection

from speakers import identity
from speakers.name_map import NameMap
from speakers.records import Resolution
from speakers.session import Session


def resolve_all(
    session: Session,
    names: Sequence[str | Sequence[str]],
    *,
    conversation_id: str,
    mapping: NameMap | None,
) -> tuple[Resolution, ...]:
    """The speaker of each name; see `Registry.resolve_all`. Writes only if a speaker is new."""
    wanted = [identity.scope_of(name, conversation_id, mapping) for name in names]
    with session.read() as connection:
        known = [identity.resolve(connection, session.tenant, name, scope) for name, scope in wanted]
    found = [one for one in known if one is not None]
    if len(found) == len(wanted):
        return tuple(found)
    with session.write() as connection:
        return tuple(_resolve_or_create(session, connection, name, scope) for name, scope in wanted)


def _resolve_or_create(session: Session, connection: Connection, name: str, scope: str) -> Resolution:
    """Looks the name up again first: another process or an earlier name may have created the speaker."""
    known = identity.resolve(connection, session.tenant, name, scope)
    if known is not None:
        return known
    warnings = identity.warnings_about(connection, session.tenant, name, None)
    identity.create(connection, session.tenant, name, scope, now=session.clock())
    created = identity.resolve(connection, session.tenant, name, scope)
    assert created is not None
    return Resolution(created.speaker, True, warnings)
