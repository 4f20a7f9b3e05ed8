"""Changes of identity: rename, alias, merge and split. Each is logged and can be undone completely."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import Connection, Row, func, select, tuple_

from speakers import audit, bios, identity, names
from speakers.errors import InvalidRecordError, NameTakenError, NotReversibleError
from speakers.records import SpeakerId
from speakers.store.bulk import in_chunks
from speakers.store.tables import ALIASES, AUDIT, BIOS, MOVES, OBSERVATIONS, SPEAKERS
from speakers.tenant import Tenant


def rename(connection: Connection, tenant: Tenant, row: Row, name: str, *, now: float) -> int:
    """Change the displayed name; the old one stays an alias. Returns the log entry.

    Raises:
        NameTakenError: the name is another speaker's or a forgotten person's.
        InvalidRecordError: the name cannot be stored.
    """
    added = _claim(connection, tenant, row, name)
    shown = None if tenant.pseudonymous else names.display(name)
    connection.execute(SPEAKERS.update().where(SPEAKERS.c.speaker == row.speaker).values(name=shown))
    return audit.log(connection, tenant, "rename", now=now, speaker=row.speaker_id, old=row.name, alias=added)


def alias(connection: Connection, tenant: Tenant, row: Row, name: str, *, now: float) -> int:
    """Add an alias to the speaker. Returns the log entry.

    Raises:
        NameTakenError: the name is another speaker's or a forgotten person's.
        InvalidRecordError: the name cannot be stored.
    """
    added = _claim(connection, tenant, row, name)
    return audit.log(connection, tenant, "alias", now=now, speaker=row.speaker_id, alias=added)


def _claim(connection: Connection, tenant: Tenant, row: Row, name: str) -> int | None:
    """The number of the new alias; None if the speaker has the name already."""
    holder = identity.find_by_name(connection, tenant, name, row.scope)
    if holder is None:
        _check_not_forgotten(connection, tenant, name, row.scope)
        return identity.add_alias(connection, tenant, row.speaker, name, row.scope)
    if holder.speaker != row.speaker:
        raise NameTakenError(
            f"the name {names.display(name)!r} belongs to {holder.speaker_id}; 'erc speakers merge' joins "
            "the two"
        )
    return None


def _check_not_forgotten(connection: Connection, tenant: Tenant, name: str, scope: str) -> None:
    digest = tenant.tombstone_of_name(scope, tenant.match_name(name))
    if identity.is_erased(connection, tenant, digest):
        raise NameTakenError(
            f"the name {names.display(name)!r} belongs to a forgotten person; 'erc speakers readmit' allows "
            "it for another person"
        )


def merge(connection: Connection, tenant: Tenant, source: Row, target: Row, *, now: float) -> int:
    """Make `source` the same person as `target`, with its turns and names. Returns the log entry.

    Raises:
        InvalidRecordError: the two are one speaker already.
    """
    if source.speaker == target.speaker:
        raise InvalidRecordError(
            f"{source.speaker_id} cannot be merged with itself; the names may have been merged before"
        )
    people = {"speaker": source.speaker_id, "other": target.speaker_id}
    entry = audit.log(connection, tenant, "merge", now=now, **people, basis=target.basis)
    query = select(OBSERVATIONS.c.observation).where(OBSERVATIONS.c.speaker == source.speaker)
    turns = connection.execute(query).scalars().all()
    _move(connection, entry, source.speaker, target.speaker, turns)
    connection.execute(
        SPEAKERS.update().where(SPEAKERS.c.speaker == source.speaker).values(merged_into=target.speaker)
    )
    _set_basis(connection, target.speaker, entry)
    return entry


def split(
    connection: Connection,
    tenant: Tenant,
    row: Row,
    *,
    conversations: Sequence[str],
    utterances: Sequence[tuple[str, str]],
    name: str | None,
    now: float,
) -> tuple[int, SpeakerId]:
    """Give some of a speaker's turns to a new speaker: the log entry and the new id.

    With a `name`, the name resolves to the new speaker. Without one, the new speaker shows the old name, and
    only its id resolves to it.

    Raises:
        InvalidRecordError: no turn is chosen, or the name cannot be stored.
        NameTakenError: the name is another speaker's or a forgotten person's.
    """
    if not conversations and not utterances:
        raise InvalidRecordError("name the conversations or the utterances of the other person")
    turns = _chosen(connection, row.speaker, conversations, utterances)
    if not turns:
        raise InvalidRecordError(
            f"{row.speaker_id} has no turns in the conversations or utterances named; 'erc speakers show' "
            "lists them"
        )
    if name is not None:
        if identity.find_by_name(connection, tenant, name, row.scope) is not None:
            raise NameTakenError(
                f"the name {names.display(name)!r} is taken; split without a name and merge, or choose "
                "another"
            )
        _check_not_forgotten(connection, tenant, name, row.scope)
    created, fresh = _create_half(connection, tenant, row, name, now)
    people = {"speaker": row.speaker_id, "other": fresh}
    entry = audit.log(connection, tenant, "split", now=now, **people, basis=row.basis)
    _move(connection, entry, row.speaker, created, turns)
    _set_basis(connection, row.speaker, entry)
    return entry, fresh


def _create_half(
    connection: Connection, tenant: Tenant, row: Row, name: str | None, now: float
) -> tuple[int, SpeakerId]:
    """The row number and id of the speaker that a split creates."""
    shown = name if name is not None else row.name or row.speaker_id
    last = connection.execute(select(func.max(AUDIT.c.audit))).scalar()
    fresh = SpeakerId(tenant.new_id(f"{shown} split {last}", row.scope))
    created = identity.create(
        connection, tenant, shown, row.scope, now=now, speaker_id=fresh, named=name is not None
    )
    if name is None and row.name is None:  # the name was forgotten: do not show the id in its place
        connection.execute(SPEAKERS.update().where(SPEAKERS.c.speaker == created).values(name=None))
    return created, fresh


def _chosen(
    connection: Connection, speaker: int, conversations: Sequence[str], utterances: Sequence[tuple[str, str]]
) -> Sequence[int]:
    """The speaker's turns in the conversations and among the (conversation, utterance) pairs."""
    columns, found = OBSERVATIONS.c, set()
    pair = tuple_(columns.conversation_id, columns.utterance_id)
    for wanted, column in ((conversations, columns.conversation_id), (utterances, pair)):
        for few in in_chunks(wanted):
            where = (columns.speaker == speaker) & column.in_(few)
            found |= set(connection.execute(select(columns.observation).where(where)).scalars())
    return sorted(found)


def _move(connection: Connection, entry: int, source: int, target: int, turns: Sequence[int]) -> None:
    if turns:
        connection.execute(
            MOVES.insert(), [{"audit": entry, "observation": turn, "previous": source} for turn in turns]
        )
    moved = select(MOVES.c.observation).where(MOVES.c.audit == entry)
    connection.execute(
        OBSERVATIONS.update().where(OBSERVATIONS.c.observation.in_(moved)).values(speaker=target)
    )


def _set_basis(connection: Connection, speaker: int, basis: int) -> None:
    """Hide earlier bios: they describe another set of turns until the change is undone."""
    connection.execute(SPEAKERS.update().where(SPEAKERS.c.speaker == speaker).values(basis=basis))


def _restore_basis(connection: Connection, speaker: int, row: Row) -> None:
    """Delete bios written since the change, which use another's turns, and show the earlier ones again."""
    bios.delete(connection, (BIOS.c.speaker == speaker) & (BIOS.c.basis >= row.audit))
    _set_basis(connection, speaker, int(str(audit.entry(row).detail["basis"])))


def undo(connection: Connection, tenant: Tenant, number: int, *, now: float) -> int:
    """Reverse a logged change; returns the new log entry.

    Every row that the change touched is restored. Turns recorded since then stay; bios written since then are
    deleted.

    Raises:
        NotReversibleError: the entry is unknown, undone, no change of identity, or covered by a later change.
    """
    query = select(AUDIT).where(AUDIT.c.tenant == tenant.row, AUDIT.c.audit == number)
    row = connection.execute(query).one_or_none()
    if row is None or row.action not in _REVERSE:
        raise NotReversibleError(
            f"entry {number} is not a change that can be undone; 'erc speakers log' lists them"
        )
    if row.undone_by is not None:
        raise NotReversibleError(f"entry {number} was undone by entry {row.undone_by}")
    touched = tuple(one for one in (row.speaker_id, row.other_id) if one is not None)
    for later in audit.entries(connection, tenant, speakers=touched):
        if later.audit > number and later.undone_by is None and later.action in _REVERSE:
            raise NotReversibleError(
                f"entry {number} is covered by the later {later.action} {later.audit}; undo that first"
            )
    _REVERSE[row.action](connection, tenant, row)
    entry = audit.log(
        connection, tenant, "undo", now=now, speaker=row.speaker_id, other=row.other_id, entry=number
    )
    connection.execute(AUDIT.update().where(AUDIT.c.audit == number).values(undone_by=entry))
    return entry


def _undo_name(connection: Connection, tenant: Tenant, row: Row) -> None:
    detail = audit.entry(row).detail
    connection.execute(ALIASES.delete().where(ALIASES.c.alias == detail["alias"]))
    if row.action == "rename":
        where = (SPEAKERS.c.tenant == tenant.row) & (SPEAKERS.c.speaker_id == row.speaker_id)
        connection.execute(SPEAKERS.update().where(where).values(name=detail["old"]))


def _undo_merge(connection: Connection, tenant: Tenant, row: Row) -> None:
    source = identity.find_by_id(connection, tenant, row.speaker_id, follow=False)
    target = identity.find_by_id(connection, tenant, row.other_id, follow=False)
    _move_back(connection, row.audit, source.speaker)
    connection.execute(SPEAKERS.update().where(SPEAKERS.c.speaker == source.speaker).values(merged_into=None))
    _restore_basis(connection, target.speaker, row)


def _undo_split(connection: Connection, tenant: Tenant, row: Row) -> None:
    source = identity.find_by_id(connection, tenant, row.speaker_id, follow=False)
    created = identity.find_by_id(connection, tenant, row.other_id, follow=False)
    _move_back(connection, row.audit, source.speaker)
    for column, what in ((OBSERVATIONS.c.speaker, "new turns"), (BIOS.c.speaker, "a bio")):
        query = select(column).where(column == created.speaker).limit(1)
        if connection.execute(query).first() is not None:
            raise NotReversibleError(
                f"{created.speaker_id} has {what} since the split; merge the two speakers instead"
            )
    connection.execute(ALIASES.delete().where(ALIASES.c.speaker == created.speaker))
    connection.execute(SPEAKERS.delete().where(SPEAKERS.c.speaker == created.speaker))
    _restore_basis(connection, source.speaker, row)


def _move_back(connection: Connection, entry: int, speaker: int) -> None:
    moved = select(MOVES.c.observation).where(MOVES.c.audit == entry)
    connection.execute(
        OBSERVATIONS.update().where(OBSERVATIONS.c.observation.in_(moved)).values(speaker=speaker)
    )
    connection.execute(MOVES.delete().where(MOVES.c.audit == entry))


_REVERSE = {"rename": _undo_name, "alias": _undo_name, "merge": _undo_merge, "split": _undo_split}
