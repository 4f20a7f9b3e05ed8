"""Finds and creates the speaker that a name or an id denotes."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import count

from sqlalchemy import Connection, Row, bindparam, select

from speakers import names
from speakers.errors import UnknownSpeakerError
from speakers.name_map import NameMap
from speakers.names import NameKind
from speakers.records import Resolution, Speaker, SpeakerId
from speakers.store.tables import ALIASES, SPEAKERS, TOMBSTONES
from speakers.tenant import Tenant

EVERYWHERE = ""
"""The scope of a name that is valid in every conversation of its tenant."""

_BY_ID = select(SPEAKERS).where(
    SPEAKERS.c.tenant == bindparam("of_tenant"), SPEAKERS.c.speaker_id == bindparam("wanted")
)


def scope_of(name: str | Sequence[str], conversation_id: str, mapping: NameMap | None) -> tuple[str, str]:
    """The name and scope of the speaker who owns a turn: the first of several names.

    Generic and collective names have the conversation as their scope. A name in the mapping, whole or as the
    first of several, denotes that person everywhere.

    Raises:
        InvalidRecordError: the name cannot be stored.
    """
    whole = name if isinstance(name, str) else None
    mapped = mapping.lookup(whole, conversation_id) if mapping is not None and whole is not None else None
    if mapped is not None:
        return mapped, EVERYWHERE
    first = names.owners(name)[0]
    mapped = mapping.lookup(first, conversation_id) if mapping is not None else None
    if mapped is not None:
        return mapped, EVERYWHERE
    return first, EVERYWHERE if names.kind(first) is NameKind.PERSON else conversation_id


def find_by_name(connection: Connection, tenant: Tenant, name: str, scope: str) -> Row | None:
    """The row of the speaker with this name in the scope, after merges; None if there is none."""
    query = (
        select(SPEAKERS)
        .join(ALIASES, ALIASES.c.speaker == SPEAKERS.c.speaker)
        .where(
            ALIASES.c.tenant == tenant.row,
            ALIASES.c.scope == scope,
            ALIASES.c.match_name == tenant.match_name(name),
        )
    )
    row = connection.execute(query).one_or_none()
    return None if row is None else _follow(connection, row)


def find_by_id(connection: Connection, tenant: Tenant, speaker_id: str, *, follow: bool = True) -> Row:
    """The row of the speaker with this id; of the merge target where `follow` is set.

    Raises:
        UnknownSpeakerError: the tenant has no such id.
    """
    row = connection.execute(_BY_ID, {"of_tenant": tenant.row, "wanted": speaker_id}).one_or_none()
    if row is None:
        raise UnknownSpeakerError(f"no speaker {speaker_id!r}; 'erc speakers list' shows all")
    return _follow(connection, row) if follow else row


def _follow(connection: Connection, row: Row) -> Row:
    while row.merged_into is not None:
        row = connection.execute(select(SPEAKERS).where(SPEAKERS.c.speaker == row.merged_into)).one()
    return row


def find(connection: Connection, tenant: Tenant, name_or_id: str, *, scope: str = EVERYWHERE) -> Row:
    """The row of the speaker with this id or name, after merges.

    Raises:
        UnknownSpeakerError: the tenant has no such speaker.
        InvalidRecordError: the name cannot be stored.
    """
    if name_or_id.startswith("spk_") and len(name_or_id) == 30:
        return find_by_id(connection, tenant, name_or_id)
    row = find_by_name(connection, tenant, name_or_id, scope)
    if row is None:
        raise UnknownSpeakerError(_unknown(connection, tenant, name_or_id, scope))
    return row


def _unknown(connection: Connection, tenant: Tenant, name: str, scope: str) -> str:
    """The message for an unknown name. The name may exist in another scope."""
    query = (
        select(ALIASES.c.scope)
        .where(ALIASES.c.tenant == tenant.row, ALIASES.c.match_name == tenant.match_name(name))
        .order_by(ALIASES.c.alias)
    )
    scopes = connection.execute(query).scalars().all()
    bound = [one for one in scopes if one != EVERYWHERE]
    place = "" if scope == EVERYWHERE else f" in conversation {scope!r}"
    if EVERYWHERE in scopes:
        return f"no speaker is called {name!r}{place}, but one is in every conversation: omit --conversation"
    if bound:
        some = ", ".join(map(repr, bound[:3])) + (f" and {len(bound) - 3} more" if len(bound) > 3 else "")
        return (
            f"{name!r} is bound to single conversations ({some}): add --conversation, or use the id that "
            "'erc speakers list' shows"
        )
    return f"no speaker is called {name!r}{place}; 'erc speakers list' shows all"


def is_erased(connection: Connection, tenant: Tenant, *digests: str) -> bool:
    """Whether any of the digests is that of a forgotten id or name."""
    query = (
        select(TOMBSTONES.c.digest)
        .where(TOMBSTONES.c.tenant == tenant.row, TOMBSTONES.c.digest.in_(digests))
        .limit(1)
    )
    return connection.execute(query).first() is not None


def resolve(connection: Connection, tenant: Tenant, name: str, scope: str) -> Resolution | None:
    """The speaker of a name, or a result for a forgotten name; None if a new speaker is needed."""
    row = find_by_name(connection, tenant, name, scope)
    if row is not None:
        warnings = warnings_about(connection, tenant, name, row.speaker)
        return Resolution(speaker(connection, row), False, warnings)
    if is_erased(connection, tenant, tenant.tombstone_of_name(scope, tenant.match_name(name))):
        return Resolution(None)
    return None


def create(
    connection: Connection,
    tenant: Tenant,
    name: str,
    scope: str,
    *,
    now: float,
    speaker_id: SpeakerId | None = None,
    named: bool = True,
) -> int:
    """Create a speaker and return its row number. Unless `named` is false, the name resolves to it."""
    values = {
        "tenant": tenant.row,
        "speaker_id": speaker_id or _new_id(connection, tenant, name, scope),
        "scope": scope,
        "created_at": now,
        "basis": 0,
        "name": None if tenant.pseudonymous else names.display(name),
    }
    row = connection.execute(SPEAKERS.insert().values(**values).returning(SPEAKERS.c.speaker)).scalar_one()
    if named:
        add_alias(connection, tenant, row, name, scope)
    return row


def _new_id(connection: Connection, tenant: Tenant, name: str, scope: str) -> SpeakerId:
    """An id that no forgotten person had. Pseudonymous ids come from the name, which two people may share."""
    fresh = (tenant.new_id(name, scope, bearer=number) for number in count())
    return next(one for one in fresh if not is_erased(connection, tenant, tenant.tombstone_of_id(one)))


def add_alias(connection: Connection, tenant: Tenant, row: int, name: str, scope: str) -> int:
    """Add an alias to the speaker; returns its row number. The caller checks that the name is free."""
    values = {
        "tenant": tenant.row,
        "speaker": row,
        "scope": scope,
        "match_name": tenant.match_name(name),
        "skeleton": tenant.match_skeleton(name),
        "name": None if tenant.pseudonymous else names.display(name),
    }
    return connection.execute(ALIASES.insert().values(**values).returning(ALIASES.c.alias)).scalar_one()


def warnings_about(connection: Connection, tenant: Tenant, name: str, row: int | None) -> tuple[str, ...]:
    """Warnings about a name: invisible characters, and other speakers' names that look the same."""
    found = []
    hidden = names.hidden_characters(name)
    if hidden:
        found.append(
            f"the name {names.display(name)!r} was written with invisible characters ({', '.join(hidden)})"
        )
    query = (
        select(SPEAKERS, ALIASES.c.name.label("alias"))
        .join(ALIASES, ALIASES.c.speaker == SPEAKERS.c.speaker)
        .where(
            ALIASES.c.tenant == tenant.row,
            ALIASES.c.scope == EVERYWHERE,
            ALIASES.c.skeleton == tenant.match_skeleton(name),
        )
    )
    for other in connection.execute(query):
        target = _follow(connection, other)
        if target.speaker != row:
            shown = "another name" if other.alias is None else repr(other.alias)
            found.append(
                f"the name {names.display(name)!r} looks like {shown} of {target.speaker_id}; they stay two "
                "speakers unless merged"
            )
    return tuple(found)


def speaker(connection: Connection, row: Row) -> Speaker:
    """The speaker of a row, with every name that resolves to it."""
    rows = connection.execute(
        select(ALIASES.c.name)
        .where(ALIASES.c.speaker.in_(merged_group(connection, row.speaker)))
        .order_by(ALIASES.c.alias)
    )
    aliases = tuple(dict.fromkeys(name for (name,) in rows if name is not None and name != row.name))
    return Speaker(SpeakerId(row.speaker_id), row.name, row.scope or None, aliases)


def merged_group(connection: Connection, row: int) -> tuple[int, ...]:
    """The row number of a speaker and those of all speakers merged into it, directly or not."""
    found, fresh = [row], [row]
    while fresh:
        query = select(SPEAKERS.c.speaker).where(SPEAKERS.c.merged_into.in_(fresh))
        fresh = list(connection.execute(query).scalars())
        found += fresh
    return tuple(found)


def unmerged(connection: Connection, tenant: Tenant) -> Sequence[Row]:
    """The rows of all speakers that were not merged into another, in order of creation."""
    where = (SPEAKERS.c.tenant == tenant.row) & SPEAKERS.c.merged_into.is_(None)
    return connection.execute(select(SPEAKERS).where(where).order_by(SPEAKERS.c.speaker)).all()
