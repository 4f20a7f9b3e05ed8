"""Changes of identity: rename, alias, merge and split, each logged and each reversible to the byte."""

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
    """Show the speaker under another name; the old one still leads here. Raises NameTakenError."""
    added = _claim(connection, tenant, row, name)
    shown = None if tenant.pseudonymous else names.display(name)
    connection.execute(SPEAKERS.update().where(SPEAKERS.c.speaker == row.speaker).values(name=shown))
    return audit.log(connection, tenant, "rename", now=now, speaker=row.speaker_id, old=row.name, alias=added)


def alias(connection: Connection, tenant: Tenant, row: Row, name: str, *, now: float) -> int:
    """Let the speaker answer to one more name. Raises NameTakenError."""
    return audit.log(
        connection,
        tenant,
        "alias",
        now=now,
        speaker=row.speaker_id,
        alias=_claim(connection, tenant, row, name),
    )


def _claim(connection: Connection, tenant: Tenant, row: Row, name: str) -> int | None:
    """The number of the new alias, or None where the speaker has it already."""
    holder = identity.find_by_name(connection, tenant, name, row.scope)
    if holder is None:
        if identity.is_erased(
            connection, tenant, tenant.tombstone_of_name(row.scope, tenant.match_name(name))
        ):
            raise NameTakenError(
                f"the name {names.display(name)!r} belongs to somebody who was forgotten and cannot be given again"
            )
        return identity.add_alias(connection, tenant, row.speaker, name, row.scope)
    if holder.speaker != row.speaker:
        raise NameTakenError(
            f"the name {names.display(name)!r} belongs to {holder.speaker_id}; 'erc speakers merge' joins the two"
        )
    return None


def merge(connection: Connection, tenant: Tenant, source: Row, target: Row, *, now: float) -> int:
    """Make `source` the same person as `target`: its turns and names lead there from now on."""
    if source.speaker == target.speaker:
        raise InvalidRecordError(
            f"{source.speaker_id} cannot be merged with itself; the names may have been merged before"
        )
    entry = audit.log(
        connection,
        tenant,
        "merge",
        now=now,
        speaker=source.speaker_id,
        other=target.speaker_id,
        basis=target.basis,
    )
    turns = (
        connection.execute(select(OBSERVATIONS.c.observation).where(OBSERVATIONS.c.speaker == source.speaker))
        .scalars()
        .all()
    )
    _move(connection, entry, source.speaker, target.speaker, turns)
    connection.execute(
        SPEAKERS.update().where(SPEAKERS.c.speaker == source.speaker).values(merged_into=target.speaker)
    )
    _rebase(connection, target.speaker, entry)
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
    """Give some of a speaker's turns to a new speaker: the audit entry and the new speaker's id.

    With a `name` the new speaker answers to it; without one it shows the old name and is reached by its id
    alone.
    """
    if not conversations and not utterances:
        raise InvalidRecordError(
            "a split needs the conversations or the utterances that belong to the other person"
        )
    turns = _chosen(connection, row.speaker, conversations, utterances)
    if not turns:
        raise InvalidRecordError(
            f"{row.speaker_id} says nothing in the conversations or utterances named; 'erc speakers show' lists them"
        )
    shown = name if name is not None else row.name or row.speaker_id
    if name is not None and identity.find_by_name(connection, tenant, name, row.scope) is not None:
        raise NameTakenError(
            f"the name {names.display(name)!r} is taken; split without a name and merge, or choose another"
        )
    if name is not None and identity.is_erased(
        connection, tenant, tenant.tombstone_of_name(row.scope, tenant.match_name(name))
    ):
        raise NameTakenError(
            f"the name {names.display(name)!r} belongs to somebody who was forgotten and cannot be given again"
        )
    fresh = SpeakerId(
        tenant.new_id(
            f"{shown} split {connection.execute(select(func.max(AUDIT.c.audit))).scalar()}", row.scope
        )
    )
    made = identity.create(
        connection, tenant, shown, row.scope, now=now, speaker_id=fresh, named=name is not None
    )
    if name is None and row.name is None:  # a name that was forgotten is not made up for with an id
        connection.execute(SPEAKERS.update().where(SPEAKERS.c.speaker == made).values(name=None))
    entry = audit.log(
        connection, tenant, "split", now=now, speaker=row.speaker_id, other=fresh, basis=row.basis
    )
    _move(connection, entry, row.speaker, made, turns)
    _rebase(connection, row.speaker, entry)
    return entry, fresh


def _chosen(
    connection: Connection, speaker: int, conversations: Sequence[str], utterances: Sequence[tuple[str, str]]
) -> Sequence[int]:
    """The speaker's turns among those of the conversations and the (conversation, utterance) pairs."""
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


def _rebase(connection: Connection, speaker: int, basis: int) -> None:
    """Bios written before belong to another set of turns: they rest until the change is undone."""
    connection.execute(SPEAKERS.update().where(SPEAKERS.c.speaker == speaker).values(basis=basis))


def _rebase_back(connection: Connection, speaker: int, row: Row) -> None:
    """Bios written since the change tell of turns that are another's again, and no undoing would make them true: they go."""
    bios.delete(connection, (BIOS.c.speaker == speaker) & (BIOS.c.basis >= row.audit))
    _rebase(connection, speaker, int(str(audit.entry(row).detail["basis"])))


def undo(connection: Connection, tenant: Tenant, number: int, *, now: float) -> int:
    """Reverse a logged change: every row it touched is as it was. Turns recorded since stay where they were recorded;
    bios written since go.

    Raises NotReversibleError where the entry is unknown, undone, not a change of identity, or covered by a
    later change.
    """
    row = connection.execute(
        select(AUDIT).where(AUDIT.c.tenant == tenant.row, AUDIT.c.audit == number)
    ).one_or_none()
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
    _rebase_back(connection, target.speaker, row)


def _undo_split(connection: Connection, tenant: Tenant, row: Row) -> None:
    source = identity.find_by_id(connection, tenant, row.speaker_id, follow=False)
    made = identity.find_by_id(connection, tenant, row.other_id, follow=False)
    _move_back(connection, row.audit, source.speaker)
    if (
        connection.execute(
            select(OBSERVATIONS.c.observation).where(OBSERVATIONS.c.speaker == made.speaker).limit(1)
        ).first()
        is not None
    ):
        raise NotReversibleError(f"{made.speaker_id} has said more since the split; merge the two instead")
    if (
        connection.execute(select(BIOS.c.bio).where(BIOS.c.speaker == made.speaker).limit(1)).first()
        is not None
    ):
        raise NotReversibleError(f"{made.speaker_id} has a bio since the split; merge the two instead")
    connection.execute(ALIASES.delete().where(ALIASES.c.speaker == made.speaker))
    connection.execute(SPEAKERS.delete().where(SPEAKERS.c.speaker == made.speaker))
    _rebase_back(connection, source.speaker, row)


def _move_back(connection: Connection, entry: int, speaker: int) -> None:
    moved = select(MOVES.c.observation).where(MOVES.c.audit == entry)
    connection.execute(
        OBSERVATIONS.update().where(OBSERVATIONS.c.observation.in_(moved)).values(speaker=speaker)
    )
    connection.execute(MOVES.delete().where(MOVES.c.audit == entry))


_REVERSE = {"rename": _undo_name, "alias": _undo_name, "merge": _undo_merge, "split": _undo_split}
