"""The public interface of the speaker memory."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType

import numpy as np

from speakers import identity, tenant
from speakers.erasure import requests
from speakers.erasure.eraser import BACKGROUND_PATIENCE, Eraser
from speakers.errors import SpeakersError, StoreError, UnknownTenantError
from speakers.export_import import Importer, ImportReceipt, export, parse
from speakers.history import SummaryRule
from speakers.records import (
    Embedder,
    Erasure,
    Point,
)
from speakers.registry.identities import IdentityMethods
from speakers.registry.turns import TurnMethods
from speakers.session import Session
from speakers.store import Store
from speakers.store.codec import stored_embedder
from speakers.store.tables import TENANTS
from speakers.tenant import Policy, Tenant
from speakers.vectors import index_file

END = Point(time=float(np.finfo(np.float64).max), sequence=2**62, conversation_id="", index=0)
"""A point after every turn. Pass it as `before` to read all of the past."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """How a memory is opened.

    Attributes:
        policy: the policy of a new tenant; an existing tenant must match it.
        summary: how summaries are computed.
        busy_seconds: how long to wait for another process.
        create: whether to create a missing store or tenant.
        expire: whether opening erases what the retention policy no longer allows.
    """

    policy: Policy = field(default_factory=Policy)
    summary: SummaryRule = field(default_factory=SummaryRule)
    busy_seconds: float = 30.0
    create: bool = True
    expire: bool = True


class Registry(IdentityMethods, TurnMethods):
    """The memory of one tenant. Threads may share it; each process opens its own.

    Every method may raise a `StoreError`. A method that takes a name raises InvalidRecordError if the name
    cannot be stored. Under a retention policy, reading and recording first erase what has expired.
    """

    def __init__(self, session: Session, *, options: Options, tenant_created: bool = False) -> None:
        self._session = session
        self._summary = options.summary
        self._tenant_created = tenant_created
        self._eraser = Eraser(session, busy_seconds=options.busy_seconds)
        session.before_read = self._eraser.expire_if_due

    @classmethod
    def open(
        cls,
        address: str | Path,
        *,
        tenant: str = "default",
        clock: Callable[[], float] = time.time,
        options: Options | None = None,
    ) -> Registry:
        """Open or create the memory at a path, a `sqlite:///` or a `postgresql://` URL.

        `clock` gives UTC seconds. Opening also finishes an erasure that a crash interrupted.

        Raises:
            StoreError: the store cannot be opened; see `Store.open` for the subclasses.
            UnknownTenantError: the tenant does not exist and `create` is false.
            PolicyMismatchError: the tenant exists with another policy.
            ErasureIncompleteError: an interrupted erasure still cannot be finished.
        """
        options = options or Options()
        store = Store.open(address, create=options.create, busy_seconds=options.busy_seconds)
        try:
            found, created = _find_or_create(store, tenant, options)
            registry = cls(Session(store, found, clock=clock), options=options, tenant_created=created)
            registry._eraser.resume()
            if options.expire:
                registry._eraser.expire_if_due()
            if store.path is not None:
                index_file.sweep(store.path)
        except BaseException:
            store.close()
            raise
        return registry

    @staticmethod
    def tenants(address: str | Path) -> tuple[str, ...]:
        """The names of all tenants of a store, in order of creation.

        Raises:
            StoreError: the store cannot be opened; see `Store.open` for the subclasses.
        """
        store = Store.open(address, create=False)
        try:
            with store.read() as connection:
                return tenant.tenant_names(connection)
        finally:
            store.close()

    def __enter__(self) -> Registry:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Cache the index if it has grown, try again to finish an erasure, and close the database."""
        try:
            self._session.search.save_if_grown()
            if self._eraser.unfinished:
                with suppress(SpeakersError):
                    self._eraser.resume(patience=BACKGROUND_PATIENCE)
        finally:
            self._session.store.close()

    def abandon(self) -> None:
        """Close, and delete the file or else the tenant if opening created it and it is still unused."""
        store = self._session.store
        if store.created:
            store.discard()
        elif self._tenant_created:
            # The database refuses to delete a tenant that has rows.
            with suppress(StoreError), store.write() as connection:
                connection.execute(TENANTS.delete().where(TENANTS.c.tenant == self.tenant.row))
        self.close()

    @property
    def address(self) -> str:
        """The path, or the URL without its password."""
        return self._session.store.address

    def owns(self, path: Path) -> bool:
        """Whether the path is a file of the memory, which nothing else may overwrite."""
        return self._session.store.owns(path)

    @property
    def embedder(self) -> Embedder | None:
        """The model that made the stored vectors; None before the first."""
        with self._session.read() as connection:
            stored = stored_embedder(connection, self.tenant.row)
        return None if stored is None else stored[1]

    # Erasure, export and policy

    def forget(self, speaker: str, *, conversation_id: str | None = None) -> Erasure:
        """Erase a person: rows, bios, vectors, log entries, caches. Their id and names are refused later.

        Raises:
            UnknownSpeakerError: there is no such speaker.
            ErasureIncompleteError: a reader blocked the cleaning of files; the next open finishes it.
        """
        return self._eraser.forget(speaker, conversation_id or identity.EVERYWHERE)

    def readmit(self, name: str, *, conversation_id: str | None = None) -> bool:
        """Allow a forgotten name for another person; returns whether it was forgotten."""
        with self._session.write() as connection:
            return requests.readmit(connection, self.tenant, name, conversation_id or identity.EVERYWHERE)

    def delete_conversation(self, conversation_id: str) -> Erasure:
        """Delete a conversation as if it had never been recorded.

        Raises:
            ErasureIncompleteError: a reader blocked the cleaning of files; the next open finishes it.
        """
        return self._eraser.delete([conversation_id])

    def expire(self) -> Erasure:
        """Erase conversations recorded longer ago than the policy allows, and older speakers without data.

        Raises:
            ErasureIncompleteError: a reader blocked the cleaning of files; the next open finishes it.
        """
        return self._eraser.expire()

    def set_retention(self, days: float | None) -> None:
        """Change how many days conversations are kept; None keeps them indefinitely.

        Other processes apply it when they open the memory again.

        Raises:
            InvalidPolicyError: `days` is below 1 or not finite.
        """
        with self._session.write() as connection:
            self._session.tenant = tenant.set_retention(connection, self.tenant, days)
        self._eraser.check_again()

    def export(self, speaker: str | None = None) -> Iterator[str]:
        """Everything stored about a person, or about all, as JSON Lines.

        The lines are of one snapshot, which is held until the last line is read.

        Raises:
            UnknownSpeakerError: there is no such speaker.
        """
        with self._session.read() as connection:
            if speaker is None:
                rows = identity.unmerged(connection, self.tenant)
            else:
                rows = [self._row(connection, speaker)]
            for line in export(connection, self.tenant, self._session.vocabulary, rows):
                yield json.dumps(line, ensure_ascii=False, allow_nan=False)

    def import_lines(self, lines: Iterable[str | bytes], *, source: str = "import") -> ImportReceipt:
        """Import an export (text or UTF-8 bytes), all or none.

        Stored data does not change, and forgotten people stay forgotten. The log of changes is not imported.

        Raises:
            InvalidRecordError: a line cannot be imported; the message names `source` and the line.
            EmbedderMismatchError: the vectors are of another embedder than the tenant's.
        """
        session = self._session
        with session.write() as connection:
            importer = Importer(connection, self.tenant, session.vocabulary, now=session.clock())
            receipt = importer.run(parse(lines, source=source))
        self._eraser.check_again()
        return receipt


def _find_or_create(store: Store, name: str, options: Options) -> tuple[Tenant, bool]:
    """The tenant, and whether it was created."""
    with store.read() as connection:
        found = tenant.find_tenant(connection, name, options.policy)
    if found is not None:
        return found, False
    if not options.create:
        raise UnknownTenantError(
            f"{store.address}: no tenant {name!r} here; check the name (--tenant): erc label --memory "
            "creates new ones"
        )
    with store.write() as connection:
        return tenant.create_tenant(connection, name, options.policy), True
