"""Connections and transactions: SQLite in a file by default, PostgreSQL by URL."""

from __future__ import annotations

import re
import secrets
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine, create_engine, event, inspect, select, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.pool import QueuePool

from speakers.errors import (
    CorruptStoreError,
    MissingDriverError,
    NewerStoreError,
    OlderStoreError,
    StoreBusyError,
)
from speakers.store import migrations
from speakers.store.address import create_private, inspect_file, locate
from speakers.store.error_mapping import meaning, translated
from speakers.store.tables import META

APPLICATION_ID = 0x43564D4F
"""The `application_id` of our SQLite files. A database of another program is refused, never changed."""

QUICK_CHECK_BYTES = 16 * 2**20
"""SQLite files up to this size are checked page by page; larger ones by header and length alone."""

_EMPTY = """
SELECT (SELECT count(*) FROM tenants) < 2
    AND NOT EXISTS (SELECT 1 FROM speakers)
    AND NOT EXISTS (SELECT 1 FROM conversations)
    AND NOT EXISTS (SELECT 1 FROM tombstones)
"""


class Store:
    """An open database. Threads may share it; a forked process may not use it.

    Attributes:
        engine: the SQLAlchemy engine.
        path: the SQLite file, or None for PostgreSQL.
        created: whether opening created the file.
        address: the path, or the URL without its password.
        busy_seconds: how long to wait for another process.
    """

    def __init__(
        self, engine: Engine, *, path: Path | None, busy_seconds: float, created: bool = False
    ) -> None:
        self.engine = engine
        self.path = path
        self.created = created
        self.address = str(path) if path is not None else engine.url.render_as_string(hide_password=True)
        self.busy_seconds = busy_seconds

    @classmethod
    def open(cls, address: str | Path, *, create: bool = True, busy_seconds: float = 30.0) -> Store:
        """Open the store at a path or URL; create it or upgrade its schema where needed.

        Raises:
            StoreMissingError: nothing is there and `create=False`, or the address cannot be reached.
            CorruptStoreError: the file is damaged, truncated or not a speaker store.
            NewerStoreError: a newer version of the package wrote it.
            OlderStoreError: a development version wrote it, before the first release.
            StoreBusyError: another process holds it for longer than `busy_seconds`.
            MissingDriverError: the package `psycopg` is missing.
        """
        url, path = locate(address)
        fresh = path is not None and inspect_file(path, create=create)
        created = fresh and path is not None and create_private(path)
        try:
            engine = create_engine(
                url,
                poolclass=QueuePool,
                pool_size=5,
                max_overflow=20,
                hide_parameters=True,
                **_arguments(path, busy_seconds),
            )
        except ImportError as error:
            raise MissingDriverError(
                "a memory on PostgreSQL needs the package 'psycopg': "
                f"pip install 'convemo[postgres]' ({error})"
            ) from None
        store = cls(engine, path=path, busy_seconds=busy_seconds, created=created)
        if path is not None:
            event.listen(engine, "connect", partial(_prepare_sqlite, busy_seconds=busy_seconds))
        else:
            milliseconds = max(1, int(1000 * busy_seconds))
            event.listen(engine, "connect", partial(_prepare_postgresql, milliseconds=milliseconds))
        event.listen(engine, "begin", _begin)
        try:
            if path is not None and not fresh:
                store._check_sqlite()
            store._prepare_schema()
        except BaseException:
            store.close()
            raise
        return store

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """A transaction on one snapshot: everything read inside it is from the same moment."""
        with translated(self.address), self.engine.connect() as plain:
            level = {"isolation_level": "REPEATABLE READ"} if self.path is None else {}
            connection = plain.execution_options(**level)
            with connection.begin():
                yield connection

    @contextmanager
    def write(self) -> Iterator[Connection]:
        """A transaction that holds the write lock from its start and is durable once this returns."""
        with translated(self.address), self.engine.connect() as plain:
            connection = plain.execution_options(speakers_write=True)
            self._begin_with_retries(connection)
            with connection.get_transaction():  # type: ignore[union-attr]
                yield connection

    @contextmanager
    def bare(self) -> Iterator[Connection]:
        """A connection outside any transaction, for VACUUM and checkpoints."""
        with translated(self.address), self.engine.connect() as plain:
            if self.path is None:
                yield plain.execution_options(isolation_level="AUTOCOMMIT")
            else:
                yield plain.execution_options(speakers_bare=True)

    def owns(self, path: Path) -> bool:
        """Whether the path is, or would be, a file of the store.

        These are the database, the files that SQLite keeps next to it, and cached indexes with their drafts.
        """
        if self.path is None:
            return False
        if path.exists() and path.samefile(self.path):
            return True
        real, own = path.resolve(), self.path.resolve()
        beside = re.escape(own.name) + r"(-wal|-shm|-journal|-index-\d+(\.\d+\.tmp)?)?"
        return real.parent == own.parent and re.fullmatch(beside, real.name) is not None

    def close(self) -> None:
        """Close every connection."""
        self.engine.dispose()

    def discard(self) -> None:
        """Close every connection and delete a file that opening created and that is still unused.

        The file stays if it has data or more than one tenant, or if another process has it open.
        """
        self.close()
        if self.path is None or not self.created:
            return
        try:
            with closing(sqlite3.connect(self.path, timeout=0)) as raw:
                empty = raw.execute(_EMPTY).fetchone() == (1,)
                # SQLite changes the mode only for the single open connection.
                alone = raw.execute("PRAGMA journal_mode = DELETE").fetchone() == ("delete",)
        except sqlite3.OperationalError:
            return
        if empty and alone:
            self.path.unlink(missing_ok=True)

    def _begin_with_retries(self, connection: Connection) -> None:
        """Begin, and retry where SQLite's own busy timeout does not apply, such as recovery after a crash."""
        deadline = time.monotonic() + self.busy_seconds
        while True:
            try:
                connection.begin()
                return
            except DBAPIError as error:
                busy = isinstance(meaning(error, self.address), StoreBusyError)
                if not busy or time.monotonic() > deadline:
                    raise
                connection.rollback()
                time.sleep(0.01)

    def _check_sqlite(self) -> None:
        # One snapshot: another process may be creating the application id and the tables right now.
        with self.read() as connection:
            application_id = connection.exec_driver_sql("PRAGMA application_id").scalar_one()
            tables = connection.exec_driver_sql("SELECT count(*) FROM sqlite_master").scalar_one()
            if tables and application_id != APPLICATION_ID:
                raise CorruptStoreError(
                    f"{self.address}: a SQLite database, but not a speaker store; name another file"
                )
            assert self.path is not None
            if self.path.stat().st_size <= QUICK_CHECK_BYTES:
                verdict = connection.exec_driver_sql("PRAGMA quick_check(1)").scalar_one()
                if verdict != "ok":
                    raise CorruptStoreError(
                        f"{self.address}: damaged ({verdict}); restore it from a backup or from an export"
                    )

    def _prepare_schema(self) -> None:
        """Create or upgrade the schema in one transaction. Several processes may try at once."""
        with self.read() as connection:
            if _schema_version(connection, self.address) == migrations.latest():
                return
        with self.write() as connection:
            if self.path is None:
                connection.execute(text("SELECT pg_advisory_xact_lock(:id)"), {"id": APPLICATION_ID})
            version = _schema_version(connection, self.address)
            if version == migrations.latest():
                return
            if version is not None:
                migrations.upgrade(connection, version)
                return
            migrations.create(connection)
            connection.execute(META.insert(), {"name": "store_key", "value": secrets.token_hex(32)})
            if self.path is not None:
                connection.exec_driver_sql(f"PRAGMA application_id = {APPLICATION_ID}")


def _schema_version(connection: Connection, address: str) -> int | None:
    """The store's schema version; None for an empty database."""
    if not inspect(connection).has_table("meta"):
        return None
    query = select(META.c.value).where(META.c.name == "schema_version")
    value = connection.execute(query).scalar_one_or_none()
    if value is None or not re.fullmatch(r"\d{1,6}", value):
        raise CorruptStoreError(
            f"{address}: has no readable schema version; it is not a speaker store or is damaged"
        )
    if int(value) > migrations.latest():
        raise NewerStoreError(
            f"{address}: has schema version {value}; this package reads up to {migrations.latest()}: "
            "pip install --upgrade convemo"
        )
    if int(value) < migrations.INITIAL:
        raise OlderStoreError(
            f"{address}: has schema version {value} of an unreleased development version; this package "
            f"reads from {migrations.INITIAL}: export it with the version that created it, then run "
            "'erc speakers import' into a new memory"
        )
    return int(value)


def _arguments(path: Path | None, busy_seconds: float) -> dict[str, Any]:
    if path is None:
        return {"connect_args": {"connect_timeout": max(2, int(busy_seconds))}, "pool_pre_ping": True}
    # Every block ends its own transaction, so a returned connection needs no further rollback.
    arguments = {"timeout": busy_seconds, "check_same_thread": False}
    return {"connect_args": arguments, "pool_reset_on_return": None}


def _prepare_sqlite(raw: sqlite3.Connection, _: Any, *, busy_seconds: float) -> None:
    raw.isolation_level = None  # transactions are opened by _begin, never by the driver
    cursor = raw.cursor()
    deadline = time.monotonic() + busy_seconds
    # While another process creates the same store, the switch to WAL fails as "locked" without waiting.
    while True:
        try:
            cursor.execute("PRAGMA journal_mode = WAL")
            break
        except sqlite3.OperationalError as error:
            if "locked" not in str(error) or time.monotonic() > deadline:
                raise
            time.sleep(0.01)
    for pragma in ("synchronous = FULL", "foreign_keys = ON", "secure_delete = ON", "temp_store = MEMORY"):
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()


def _prepare_postgresql(raw: Any, _: Any, *, milliseconds: int) -> None:
    raw.execute(f"SET lock_timeout = {milliseconds}")  # so that waiting ends on both engines
    raw.commit()


def _begin(connection: Connection) -> None:
    if connection.dialect.name != "sqlite":
        return
    options = connection.get_execution_options()
    if not options.get("speakers_bare"):
        connection.exec_driver_sql("BEGIN IMMEDIATE" if options.get("speakers_write") else "BEGIN")
