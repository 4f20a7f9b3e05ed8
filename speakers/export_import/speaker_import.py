"""Imports speakers with their names, and maps each imported id to a speaker of this memory."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from sqlalchemy import Connection, select

from speakers import identity, names
from speakers.errors import InvalidRecordError, UnknownSpeakerError
from speakers.records import check_text
from speakers.store.tables import ALIASES, SPEAKERS
from speakers.tenant import Tenant

_ID = re.compile(r"spk_[0-9A-HJKMNP-TV-Z]{26}")


class SpeakerImport:
    """Imports `speaker` lines into one tenant.

    Attributes:
        rows: the row number of each imported id; None for a forgotten person.
        divided: ids that are one person in the export and several here.
        created: the number of new speakers.
        warnings: names that belong to another speaker here.
    """

    def __init__(self, connection: Connection, tenant: Tenant, *, now: float) -> None:
        self._connection, self._tenant, self._now = connection, tenant, now
        self.rows: dict[str, int | None] = {}
        self.divided: set[str] = set()
        self.created = 0
        self.warnings: list[str] = []

    def add(self, data: Mapping[str, Any]) -> None:
        """Import one line.

        Raises:
            InvalidRecordError: an id or name is invalid, or only the export is pseudonymous.
        """
        aliases = [one for one in data["aliases"] if one["match_name"]]
        people = (data, *data["merged"])
        for one in people:
            if not _ID.fullmatch(one["speaker_id"]):
                raise InvalidRecordError(
                    f"speaker_id={one['speaker_id']!r}: an id is 'spk_' and 26 characters"
                )
            check_text(one["scope"], "scope")
        digests = [self._tenant.tombstone_of_id(one["speaker_id"]) for one in people]
        digests += [self._tenant.tombstone_of_name(one["scope"], self._match(one)) for one in aliases]
        if identity.is_erased(self._connection, self._tenant, *digests):
            self.rows[data["speaker_id"]] = None
            return
        found = self._find(data["speaker_id"])
        if found is None:
            found = self._create(data, created_at=float(data["created_at"]))
            self.created += 1
        self.rows[data["speaker_id"]] = found
        for merged in data["merged"]:
            known = self._find(merged["speaker_id"])
            if known is None:
                self._create(merged, created_at=self._now, merged_into=found)
            elif known != found:
                self.divided.add(data["speaker_id"])
        for one in aliases:
            self._add_alias(found, data["speaker_id"], one)

    def _create(self, data: Mapping[str, Any], **values: Any) -> int:
        values |= {
            "tenant": self._tenant.row,
            "speaker_id": data["speaker_id"],
            "scope": data["scope"],
            "basis": 0,
            "name": self._shown(data),
        }
        insert = SPEAKERS.insert().values(**values).returning(SPEAKERS.c.speaker)
        return self._connection.execute(insert).scalar_one()

    def _find(self, speaker_id: str) -> int | None:
        """The row number of an id after merges; None if the tenant does not have it."""
        try:
            return identity.find_by_id(self._connection, self._tenant, speaker_id).speaker
        except UnknownSpeakerError:
            return None

    def _shown(self, data: Mapping[str, Any]) -> str | None:
        """The name to display; None for a forgotten person's, which a split-off speaker may still show."""
        if data["name"] is None or self._tenant.pseudonymous:
            return None
        digest = self._tenant.tombstone_of_name(data["scope"], self._tenant.match_name(data["name"]))
        erased = identity.is_erased(self._connection, self._tenant, digest)
        return None if erased else names.display(data["name"])

    def _match(self, alias: Mapping[str, Any]) -> str:
        """The matching form of an alias. A pseudonymous export has only that form, as a digest."""
        if alias["name"] is None:
            return check_text(alias["match_name"], "name")
        return self._tenant.match_name(alias["name"])

    def _add_alias(self, speaker: int, speaker_id: str, alias: Mapping[str, Any]) -> None:
        name = alias["name"]
        if name is None and not self._tenant.pseudonymous:
            raise InvalidRecordError(
                "the export is pseudonymous and this memory is not; import it into a pseudonymous one"
            )
        match = self._match(alias)
        where = (
            (ALIASES.c.tenant == self._tenant.row)
            & (ALIASES.c.scope == alias["scope"])
            & (ALIASES.c.match_name == match)
        )
        query = select(SPEAKERS.c.speaker, SPEAKERS.c.speaker_id)
        query = query.join(ALIASES, ALIASES.c.speaker == SPEAKERS.c.speaker).where(where)
        holder = self._connection.execute(query).one_or_none()
        if holder is None:
            values = {
                "tenant": self._tenant.row,
                "speaker": speaker,
                "scope": alias["scope"],
                "match_name": match,
                "skeleton": alias["skeleton"] if name is None else self._tenant.match_skeleton(name),
                "name": None if self._tenant.pseudonymous else names.display(name),
            }
            self._connection.execute(ALIASES.insert(), values)
        elif speaker not in (holder.speaker, self._find(holder.speaker_id)):
            shown = "a name" if name is None else repr(name)
            self.warnings.append(
                f"{speaker_id}: {shown} belongs to another speaker here; they stay two speakers unless merged"
            )
