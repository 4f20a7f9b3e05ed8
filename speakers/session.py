"""One tenant's open store: transactions, the clock, and what is cached between transactions."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from sqlalchemy import Connection

from speakers.store import Store
from speakers.store.codec import Vocabulary, stored_embedder
from speakers.tenant import Tenant, tenant_row
from speakers.vectors.recall import VectorSearch


class Session:
    """The state that the parts of a `Registry` share.

    Attributes:
        store: the open database.
        tenant: the tenant and its policy.
        clock: gives the present time in UTC seconds.
        vocabulary: cached label sets and embedder.
        search: the vector search with its index.
        before_read: called before each `read`; a `Registry` applies the retention policy here.
    """

    def __init__(self, store: Store, tenant: Tenant, *, clock: Callable[[], float]) -> None:
        self.store = store
        self.tenant = tenant
        self.clock = clock
        self.vocabulary = Vocabulary(tenant.row)
        self.search = VectorSearch(store, tenant, self.vocabulary)
        self.before_read: Callable[[], None] = lambda: None

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """A transaction on one snapshot, after the retention policy was applied."""
        self.before_read()
        with self.store.read() as connection:
            yield connection

    @contextmanager
    def write(self, *, lock: bool = True) -> Iterator[Connection]:
        """A write transaction. With `lock`, other writers of the tenant wait from its start."""
        try:
            with self.store.write() as connection:
                if lock:
                    tenant_row(connection, self.tenant)
                yield connection
        except BaseException:
            self.vocabulary.forget_uncommitted()
            raise

    def vector_width(self, connection: Connection) -> int | None:
        """The width of the stored vectors; None before the first."""
        stored = stored_embedder(connection, self.tenant.row)
        return None if stored is None else stored[1].width
