"""The one door to the speaker memory."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import TracebackType
from typing import TypeVar

import numpy as np
from sqlalchemy import Connection, Row, select

from speakers import aliases, audit, bios, erasure, history, identity
from speakers import export_import as exchange
from speakers import recording as ledger
from speakers.bios import DETERMINISTIC, BioWriter, Embed
from speakers.errors import (
    ErasureIncompleteError,
    InvalidRecordError,
    SpeakersError,
    StoreError,
    UnknownTenantError,
)
from speakers.export_import import ImportReceipt
from speakers.history import SummaryRule
from speakers.name_map import NameMap
from speakers.records import (
    AuditEntry,
    Bio,
    Embedder,
    Erasure,
    LoggedNames,
    Observation,
    Point,
    Recall,
    Receipt,
    Resolution,
    Speaker,
    SpeakerContext,
    SpeakerId,
)
from speakers.store import Store
from speakers.store.codec import Vocabulary, stored_embedder
from speakers.store.tables import OBSERVATIONS, SPEAKERS, TENANTS
from speakers.tenant import Policy, Tenant, epoch_of, find_tenant, make_tenant, tenant_row
from speakers.vectors import index_file
from speakers.vectors.recall import VectorSearch

_PATIENCE = 1.0
"""How long, in seconds, a call waits for readers of other processes to finish an erasure that nobody asked it for."""

_HELD = 86_400.0
"""For how long, in seconds, a speaker whose id was given out is not forgotten for want of turns: time to label a conversation."""

T = TypeVar("T")
END = Point(time=float(np.finfo(np.float64).max), sequence=2**62, conversation_id="", index=0)
"""A point after every turn. To be written out where all of the past is meant: no look-up assumes it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """How a memory is opened: what the tenant keeps, how summaries are made, how long to wait for another process."""

    policy: Policy = field(default_factory=Policy)
    summary: SummaryRule = field(default_factory=SummaryRule)
    busy_seconds: float = 30.0
    create: bool = True


class Registry:
    """The memory of one tenant. Safe to share between threads; each process opens its own."""

    def __init__(self, store: Store, tenant: Tenant, *, clock: Callable[[], float], options: Options) -> None:
        self._store, self._tenant, self._clock, self._options = store, tenant, clock, options
        self._sets = Vocabulary(tenant.row)
        self._recaller = VectorSearch(store, tenant, self._sets)
        self._looked = self._expiry = -math.inf  # when what is too old was looked for, and is to be again
        self._given_out: dict[
            str, float
        ] = {}  # speakers whose turns somebody is about to record, and since when
        self._due = False  # whether an erasure by the policy is not finished
        self._untold: tuple[str, ...] = ()  # what of it nobody was told
        self._made = False  # whether opening made the tenant

    @classmethod
    def open(
        cls,
        address: str | Path,
        *,
        tenant: str = "default",
        clock: Callable[[], float] = time.time,
        options: Options | None = None,
    ) -> Registry:
        """Open or make the memory at a path, `sqlite:///` or `postgresql://` URL; `clock` gives UTC seconds.

        With `create=False` neither store nor tenant is made: raises StoreMissingError or UnknownTenantError.
        An erasure that a crash cut short is finished first, and what the retention policy no longer allows is
        erased.
        """
        options = options or Options()
        store = Store.open(address, create=options.create, busy_seconds=options.busy_seconds)
        try:
            with store.read() as connection:
                found = find_tenant(connection, tenant, options.policy)
            if found is None and not options.create:
                raise UnknownTenantError(
                    f"{store.address}: no tenant {tenant!r} here; check the name (--tenant): erc label --memory makes new ones"
                )
            made = found is None
            if found is None:
                with store.write() as connection:
                    found = make_tenant(connection, tenant, options.policy)
            registry = cls(store, found, clock=clock, options=options)
            registry._made = made
            registry._resume()
            registry._expire_due()
            if store.path is not None:
                index_file.sweep(store.path)
        except BaseException:
            store.close()
            raise
        return registry

    def __enter__(self) -> Registry:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Cache the index if it has grown, try once more what is due of an erasure, and let go of the database."""
        try:
            self._recaller.save_if_grown()
            if self._due:
                with suppress(SpeakersError):
                    self._resume(patience=_PATIENCE)
        finally:
            self._store.close()

    def abandon(self) -> None:
        """Close, and take back what opening made, the file or else the tenant, where nothing is kept in it and nobody else has the file open."""
        if self._store.created:
            self._store.discard()
        elif self._made:
            with (
                suppress(StoreError),
                self._store.write() as connection,
            ):  # refused by the database as long as rows belong to the tenant
                connection.execute(TENANTS.delete().where(TENANTS.c.tenant == self._tenant.row))
        self.close()

    @property
    def address(self) -> str:
        """The path, or the URL without its password."""
        return self._store.address

    def owns(self, path: Path) -> bool:
        """Whether the path is one of the memory's own files, which nothing else may be written to."""
        return self._store.owns(path)

    @property
    def tenant(self) -> Tenant:
        """Whose memory this is, and its policy."""
        return self._tenant

    @property
    def embedder(self) -> Embedder | None:
        """Whose vectors are kept; None before the first."""
        with self._read() as connection:
            stored = stored_embedder(connection, self._tenant.row)
        return None if stored is None else stored[1]

    # Who is this

    def resolve(
        self, name: str | Sequence[str], *, conversation_id: str, mapping: NameMap | None = None
    ) -> Resolution:
        """The speaker of a name as written, made if new. The first of several names owns the utterance; generic names
        (`SPEAKER_00`, `user`, `ALL`) stay inside their conversation unless the mapping names a person."""
        return self.resolve_all([name], conversation_id=conversation_id, mapping=mapping)[0]

    def resolve_all(
        self, names: Sequence[str | Sequence[str]], *, conversation_id: str, mapping: NameMap | None = None
    ) -> tuple[Resolution, ...]:
        """As `resolve`, for the names of a conversation in their order; those that are new are made in one transaction."""
        wanted = [identity.scope_of(name, conversation_id, mapping) for name in names]
        with self._read() as connection:
            known = [identity.resolve(connection, self._tenant, owner, scope) for owner, scope in wanted]
        found = [one for one in known if one is not None]
        if len(found) < len(wanted):
            with self._write() as connection:
                found = [self._resolved(connection, owner, scope) for owner, scope in wanted]
        self._give_out(one.speaker.speaker_id for one in found if one.speaker is not None)
        return tuple(found)

    def _resolved(self, connection: Connection, owner: str, scope: str) -> Resolution:
        """The speaker of a name, made if new; another process or an earlier name of the same call may have been first."""
        known = identity.resolve(connection, self._tenant, owner, scope)
        if known is not None:
            return known
        warnings = identity.warnings_about(connection, self._tenant, owner, None)
        identity.create(connection, self._tenant, owner, scope, now=self._clock())
        made = identity.resolve(connection, self._tenant, owner, scope)
        assert made is not None
        return Resolution(made.speaker, True, warnings)

    def find(self, name_or_id: str, *, conversation_id: str | None = None) -> Speaker:
        """The speaker of an id or of a name (one that is bound to a conversation, if that is given). Raises UnknownSpeakerError."""
        return self._about(name_or_id, conversation_id, identity.speaker)

    def speakers(self) -> tuple[Speaker, ...]:
        """All speakers in the order in which they were met, each merged one under its target."""
        with self._read() as connection:
            return tuple(identity.speaker(connection, row) for row in self._all(connection))

    def rename(self, speaker: str, name: str) -> int:
        """Show a speaker under another name, keeping the old one as an alias; returns the audit entry."""
        return self._change(
            speaker,
            lambda connection, row: aliases.rename(connection, self._tenant, row, name, now=self._clock()),
        )

    def alias(self, speaker: str, name: str) -> int:
        """Let a speaker answer to one more name; returns the audit entry."""
        return self._change(
            speaker,
            lambda connection, row: aliases.alias(connection, self._tenant, row, name, now=self._clock()),
        )

    def merge(self, source: str, target: str) -> int:
        """Make `source` the same person as `target`; returns the audit entry with which `undo` reverses it."""

        def change(connection: Connection, row: Row) -> int:
            return aliases.merge(
                connection,
                self._tenant,
                row,
                identity.find(connection, self._tenant, target),
                now=self._clock(),
            )

        return self._change(source, change)

    def split(
        self,
        speaker: str,
        *,
        conversations: Sequence[str] = (),
        utterances: Sequence[tuple[str, str]] = (),
        name: str | None = None,
    ) -> tuple[int, SpeakerId]:
        """Give the turns of some conversations, or some (conversation, utterance) turns, to a new speaker: audit entry and new id."""
        chosen = {
            "conversations": conversations,
            "utterances": utterances,
            "name": name,
            "now": self._clock(),
        }
        return self._change(
            speaker,
            lambda connection, row: aliases.split(connection, self._tenant, row, **chosen),  # type: ignore[arg-type]
        )

    def undo(self, entry: int) -> int:
        """Reverse a rename, alias, merge or split to the byte. Raises NotReversibleError."""
        with self._write() as connection:
            return aliases.undo(connection, self._tenant, entry, now=self._clock())

    def log(self, speaker: str | None = None) -> tuple[AuditEntry, ...]:
        """The logged changes, of one speaker or of all."""
        with self._read() as connection:
            chosen = (
                None if speaker is None else (identity.find(connection, self._tenant, speaker).speaker_id,)
            )
            return audit.entries(connection, self._tenant, speakers=chosen)

    def names(self, entries: Iterable[AuditEntry]) -> LoggedNames:
        """What the people and aliases in entries of the log are called now."""
        with self._read() as connection:
            return audit.names(connection, self._tenant, entries)

    # Taking in

    def point_for(self, conversation_id: str, index: int, timestamp: float | None = None) -> Point:
        """Where a turn stands in the order, or would stand if its conversation were recorded now."""
        return self.points_for(conversation_id, [(index, timestamp)])[0]

    def points_for(
        self, conversation_id: str, turns: Sequence[tuple[int, float | None]]
    ) -> tuple[Point, ...]:
        """As `point_for`, for turns (index, timestamp or None) in rising index: the very points that `record` would give them."""
        with self._read() as connection:
            return ledger.points(connection, self._tenant, conversation_id, turns, now=self._clock())

    def record(
        self, conversation_id: str, observations: Sequence[Observation], *, embedder: Embedder | None = None
    ) -> Receipt:
        """Take in a conversation's turns in one transaction, durable once this returns. Turns known before change nothing.

        `embedder` says whose the vectors are and is needed where there are any. What is too old by now goes
        first, but never a speaker who says something here. Where the files cannot be cleaned of it yet, the
        receipt says so and the turns are kept all the same.
        """
        self._give_out(one.speaker for one in observations)
        self._expire_due()
        with self._write(hold=False) as connection:
            receipt = ledger.record(
                connection, self._tenant, conversation_id, observations, embedder=embedder, sets=self._sets, now=self._clock()
            )  # fmt: skip
        untold, self._untold = self._untold, ()
        return replace(receipt, warnings=untold)

    def texts(self, conversation_id: str) -> dict[str, str | None]:
        """What is kept of a conversation: the words of each utterance by its id, None for one kept without them."""
        columns = OBSERVATIONS.c
        where = (columns.tenant == self._tenant.row) & (columns.conversation_id == conversation_id)
        with self._read() as connection:
            return {
                row.utterance_id: row.text
                for row in connection.execute(select(columns.utterance_id, columns.text).where(where))
            }

    def correct(self, conversation_id: str, utterance_id: str, emotion: str | None) -> None:
        """Keep a person's correction of a turn, beside the labels of the models; None takes it back."""
        columns = OBSERVATIONS.c
        where = (
            (columns.tenant == self._tenant.row)
            & (columns.conversation_id == conversation_id)
            & (columns.utterance_id == utterance_id)
        )
        with self._write() as connection:
            if not connection.execute(OBSERVATIONS.update().where(where).values(correction=emotion)).rowcount:
                raise InvalidRecordError(
                    f"no utterance {utterance_id!r} of conversation {conversation_id!r} is remembered"
                )

    # What the models read

    def context(self, speaker: SpeakerId, *, before: Point, limit: int = 12) -> SpeakerContext:
        """The speaker's last turns, decayed summary, counts and bio, all strictly before a point. Raises UnknownSpeakerError."""
        return self.contexts([(speaker, before)], limit=limit)[0]

    def contexts(
        self, wanted: Sequence[tuple[SpeakerId, Point]], *, limit: int = 12
    ) -> tuple[SpeakerContext, ...]:
        """The contexts of several (speaker, before) pairs, read from one snapshot and in the order asked for."""
        if limit < 0:
            raise InvalidRecordError(f"limit={limit}: at least 0")
        with self._read() as connection:
            stored = stored_embedder(connection, self._tenant.row)
            width = None if stored is None else stored[1].width
            rows = {
                speaker: identity.find_by_id(connection, self._tenant, speaker)
                for speaker in dict.fromkeys(one for one, _ in wanted)
            }
            return tuple(
                history.context(
                    connection, self._sets, speaker=rows[speaker].speaker, speaker_id=SpeakerId(rows[speaker].speaker_id), before=before,
                    limit=limit, rule=self._options.summary, width=width,
                    bio=bios.current(connection, rows[speaker], before=before, width=width),
                )
                for speaker, before in wanted
            )  # fmt: skip

    def recall(self, vector: np.ndarray, *, speaker: SpeakerId | None, before: Point, k: int) -> Recall:
        """The k past observations (and bio passages) nearest to a vector of shape (width,) by cosine, strictly before a point.

        `speaker=None` searches across all speakers of the tenant. Equal to an exact scan of the rows, ties
        included.
        """
        with self._read() as connection:
            row = None if speaker is None else identity.find_by_id(connection, self._tenant, speaker)
            return self._recaller.recall(connection, vector, speaker=row, before=before, k=k)

    def write_bio(
        self,
        speaker: SpeakerId,
        *,
        before: Point,
        writer: BioWriter = DETERMINISTIC,
        embed: Embed | None = None,
        embedder: Embedder | None = None,
    ) -> Bio:
        """Write the next version of a speaker's bio from the turns strictly before a point. `embed` makes vectors of the passages, as `embedder`."""
        if (embed is None) != (embedder is None):
            raise InvalidRecordError(
                "embed and embedder go together: the callable, and whose vectors it makes"
            )
        if not self._tenant.keeps_text and writer is not DETERMINISTIC:
            raise InvalidRecordError(
                "this memory keeps no words, so only the deterministic writer may write here"
            )
        while True:
            with self._read() as connection:
                row, epoch = (
                    identity.find_by_id(connection, self._tenant, speaker),
                    epoch_of(connection, self._tenant),
                )
                past = history.last_rows(connection, row.speaker, before, bios.MOST_TURNS)
                turns = history.observations(
                    connection, past, speaker=SpeakerId(row.speaker_id), sets=self._sets, width=None
                )
            passages = bios.embedded(writer.write(turns), embed)
            with self._write() as connection:
                now = identity.find_by_id(
                    connection, self._tenant, speaker
                )  # forgotten meanwhile: refused here
                if (now.speaker, now.basis, epoch_of(connection, self._tenant)) != (
                    row.speaker,
                    row.basis,
                    epoch,
                ):
                    continue  # turns were erased or found to be another's while it was written: it may not keep their words
                return bios.store(
                    connection,
                    self._tenant,
                    now,
                    before=before,
                    turns=turns,
                    writer=writer,
                    passages=passages,
                    embedder=embedder,
                )

    def bio_versions(self, speaker: SpeakerId) -> tuple[Bio, ...]:
        """Every version of a speaker's bio, oldest first."""
        return self._about(
            speaker,
            None,
            lambda connection, row: tuple(one for one, _ in bios.versions(connection, row, width=None)),
        )

    def rebuild(self) -> int:
        """Make the vector index afresh from the rows and cache it; returns how many vectors it holds."""
        with self._read() as connection:
            held = self._recaller.rebuild(connection)
        self._recaller.save()
        return held

    # The person's rights

    def forget(self, speaker: str, *, conversation_id: str | None = None) -> Erasure:
        """Erase a person: rows, bios, vectors, log, caches. The id and the names stay refused, by keyed digests alone.

        Raises ErasureIncompleteError while another process keeps old pages alive; the next open finishes.
        """
        with self._write() as connection:
            row = identity.find(
                connection, self._tenant, speaker, scope=conversation_id or identity.EVERYWHERE
            )
            number, held = erasure.intend(
                connection, self._tenant, identity.family(connection, row.speaker), now=self._clock()
            )
        done = self._resume().get(number)
        return done if done is not None and done.speakers else held  # another process may have carried it out

    def readmit(self, name: str, *, conversation_id: str | None = None) -> bool:
        """Let a forgotten name be used again, by another person who bears it; whether it was a forgotten one."""
        with self._write() as connection:
            return erasure.readmit(connection, self._tenant, name, conversation_id or identity.EVERYWHERE)

    def delete_conversation(self, conversation_id: str) -> Erasure:
        """Leave the memory as if the conversation had never been taken in."""
        return self._delete([conversation_id])

    def expire(self) -> Erasure:
        """Erase what was taken in longer ago than the retention policy allows, and speakers of whom nothing is kept since before then."""
        with self._store.read() as connection:
            old, idle = erasure.expired(connection, self._tenant, now=self._clock())
        return self._delete(old, idle=idle) if old or idle else Erasure(0, 0, 0, 0)

    def export(self, speaker: str | None = None) -> Iterator[str]:
        """Everything held about a person, or about all, as JSON Lines; one snapshot, held until the last line is read."""
        with self._read() as connection:
            rows = (
                self._all(connection)
                if speaker is None
                else [identity.find(connection, self._tenant, speaker)]
            )
            for line in exchange.export(connection, self._tenant, self._sets, rows):
                yield json.dumps(line, ensure_ascii=False, allow_nan=False)

    def import_lines(self, lines: Iterable[str | bytes], *, source: str = "import") -> ImportReceipt:
        """Take an export in (text or UTF-8), all of it or none. What is known stays as it is; who was forgotten stays forgotten.

        The log of changes stays behind: they stand, but are undone only where they were made.
        """
        with self._write() as connection:
            receipt = exchange.Importer(connection, self._tenant, self._sets, now=self._clock()).take(
                exchange.parse(lines, source=source)
            )
        self._expiry = -math.inf  # it may have brought what is too old
        return receipt

    # Within

    @contextmanager
    def _read(self) -> Iterator[Connection]:
        self._expire_due()
        with self._store.read() as connection:
            yield connection

    @contextmanager
    def _write(self, *, hold: bool = True) -> Iterator[Connection]:
        try:
            with self._store.write() as connection:
                if hold:
                    tenant_row(connection, self._tenant)  # writers of one tenant take turns on either engine
                yield connection
        except BaseException:
            self._sets.forget_uncommitted()
            raise

    def _about(self, name_or_id: str, conversation_id: str | None, read: Callable[[Connection, Row], T]) -> T:
        with self._read() as connection:
            return read(
                connection,
                identity.find(
                    connection, self._tenant, name_or_id, scope=conversation_id or identity.EVERYWHERE
                ),
            )

    def _change(self, name_or_id: str, change: Callable[[Connection, Row], T]) -> T:
        with self._write() as connection:
            return change(connection, identity.find(connection, self._tenant, name_or_id))

    def _all(self, connection: Connection) -> Sequence[Row]:
        where = (SPEAKERS.c.tenant == self._tenant.row) & SPEAKERS.c.merged_into.is_(None)
        return connection.execute(select(SPEAKERS).where(where).order_by(SPEAKERS.c.speaker)).all()

    def _delete(
        self,
        conversations: Sequence[str],
        *,
        idle: Sequence[int] = (),
        keep: Collection[str] = (),
        patience: float | None = None,
    ) -> Erasure:
        with self._write() as connection:
            removal = erasure.delete_conversations(
                connection, self._tenant, conversations, now=self._clock(), idle=idle, keep=keep
            )
        self._recaller.drop(
            removal.observations, epoch_before=removal.epoch_before, epoch_after=removal.epoch_after
        )
        self._resume(patience=patience)
        return removal.erasure

    def _give_out(self, speakers: Iterable[str]) -> None:
        if self._tenant.retention_days is not None:
            self._given_out.update(dict.fromkeys(speakers, self._clock()))

    def _expire_due(self) -> None:
        """Erase what is too old by now, before anything is read or taken in, but for the speakers whose ids were given out lately.

        Cleaning the files is not waited for where another process reads: it is due then, told with the next
        recording, and done later.
        """
        now = self._clock()
        if self._tenant.retention_days is None or self._looked <= now < self._expiry:
            return
        with self._store.read() as connection:
            old, idle = erasure.expired(connection, self._tenant, now=now)
        self._given_out = {
            speaker: since for speaker, since in self._given_out.items() if abs(now - since) < _HELD
        }
        try:
            if old or idle:
                self._delete(old, idle=idle, keep=self._given_out, patience=_PATIENCE)
        except ErasureIncompleteError as error:
            self._due, self._untold = True, (str(error),)
        with self._store.read() as connection:
            self._looked, self._expiry = now, erasure.next_expiry(connection, self._tenant, now=now)

    def _resume(self, *, patience: float | None = None) -> dict[int, Erasure]:
        """Carry every erasure that was begun to its end; what each of them removed, by its number."""
        with self._store.read() as connection:
            begun = erasure.pending(connection, self._tenant)
        done = {}
        for row in begun:
            with self._write() as connection:
                removal = erasure.delete_speakers(
                    connection, self._tenant, json.loads(row.speakers), now=self._clock()
                )
            self._recaller.drop(
                removal.observations, epoch_before=removal.epoch_before, epoch_after=removal.epoch_after
            )
            done[row.erasure] = removal.erasure
        if begun:
            seconds = (
                self._options.busy_seconds if patience is None else min(patience, self._options.busy_seconds)
            )
            erasure.finish(self._store, self._tenant, [row.erasure for row in begun], patience=seconds)
        self._due, self._untold = False, ()
        return done
