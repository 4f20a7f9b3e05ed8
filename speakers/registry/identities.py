"""Methods of a `Registry` about the identity of speakers."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from speakers import aliases, audit, identity, resolving
from speakers.name_map import NameMap
from speakers.records import AuditEntry, LoggedNames, Resolution, Speaker, SpeakerId
from speakers.registry.part import RegistryPart


class IdentityMethods(RegistryPart):
    """Finds, creates, renames, merges and splits speakers."""

    def resolve(
        self, name: str | Sequence[str], *, conversation_id: str, mapping: NameMap | None = None
    ) -> Resolution:
        """The speaker of a name as written, created if new. See `resolve_all`."""
        return self.resolve_all([name], conversation_id=conversation_id, mapping=mapping)[0]

    def resolve_all(
        self, names: Sequence[str | Sequence[str]], *, conversation_id: str, mapping: NameMap | None = None
    ) -> tuple[Resolution, ...]:
        """The speakers of the names of a conversation; new ones are created in one transaction.

        The first of several names owns a turn. Generic names (`SPEAKER_00`, `user`, `ALL`) are bound to the
        conversation unless the mapping names a person.

        Raises:
            InvalidRecordError: a name cannot be stored.
        """
        found = resolving.resolve_all(self._session, names, conversation_id=conversation_id, mapping=mapping)
        self._eraser.spare(one.speaker.speaker_id for one in found if one.speaker is not None)
        return found

    def find(self, name_or_id: str, *, conversation_id: str | None = None) -> Speaker:
        """The speaker of an id or a name; of a name bound to `conversation_id`, if that is given.

        Raises:
            UnknownSpeakerError: there is no such speaker.
        """
        with self._session.read() as connection:
            return identity.speaker(connection, self._row(connection, name_or_id, conversation_id))

    def speakers(self) -> tuple[Speaker, ...]:
        """All speakers in order of creation; merged ones appear as their target."""
        with self._session.read() as connection:
            rows = identity.unmerged(connection, self.tenant)
            return tuple(identity.speaker(connection, row) for row in rows)

    def rename(self, speaker: str, name: str) -> int:
        """Change a speaker's displayed name and keep the old one as an alias; returns the log entry.

        Raises:
            UnknownSpeakerError: there is no such speaker.
            NameTakenError: the name is another speaker's or a forgotten person's.
        """
        with self._session.write() as connection:
            row = self._row(connection, speaker)
            return aliases.rename(connection, self.tenant, row, name, now=self._session.clock())

    def alias(self, speaker: str, name: str) -> int:
        """Add an alias to a speaker; returns the log entry.

        Raises:
            UnknownSpeakerError: there is no such speaker.
            NameTakenError: the name is another speaker's or a forgotten person's.
        """
        with self._session.write() as connection:
            row = self._row(connection, speaker)
            return aliases.alias(connection, self.tenant, row, name, now=self._session.clock())

    def merge(self, source: str, target: str) -> int:
        """Make `source` the same person as `target`; returns the log entry.

        Raises:
            UnknownSpeakerError: one of them does not exist.
            InvalidRecordError: they are one speaker already.
        """
        with self._session.write() as connection:
            rows = self._row(connection, source), self._row(connection, target)
            return aliases.merge(connection, self.tenant, *rows, now=self._session.clock())

    def split(
        self,
        speaker: str,
        *,
        conversations: Sequence[str] = (),
        utterances: Sequence[tuple[str, str]] = (),
        name: str | None = None,
    ) -> tuple[int, SpeakerId]:
        """Give turns to a new speaker: those of conversations, or (conversation, utterance) pairs.

        Returns:
            The log entry and the id of the new speaker.

        Raises:
            UnknownSpeakerError: there is no such speaker.
            InvalidRecordError: no turn is chosen.
            NameTakenError: the name is another speaker's or a forgotten person's.
        """
        with self._session.write() as connection:
            return aliases.split(
                connection,
                self.tenant,
                self._row(connection, speaker),
                conversations=conversations,
                utterances=utterances,
                name=name,
                now=self._session.clock(),
            )

    def undo(self, entry: int) -> int:
        """Reverse a rename, alias, merge or split completely; returns the new log entry.

        Raises:
            NotReversibleError: the entry is unknown, undone already, or covered by a later change.
        """
        with self._session.write() as connection:
            return aliases.undo(connection, self.tenant, entry, now=self._session.clock())

    def log(self, speaker: str | None = None) -> tuple[AuditEntry, ...]:
        """The logged changes, of one speaker or of all, oldest first.

        Raises:
            UnknownSpeakerError: there is no such speaker.
        """
        with self._session.read() as connection:
            ids = None if speaker is None else (self._row(connection, speaker).speaker_id,)
            return audit.entries(connection, self.tenant, speakers=ids)

    def names(self, entries: Iterable[AuditEntry]) -> LoggedNames:
        """The current names of the people and aliases in log entries."""
        with self._session.read() as connection:
            return audit.names(connection, self.tenant, entries)
