"""Connections and transactions: SQLite in a file by default, PostgreSQL by URL."""

from __future__ import annotations

import os
import re
import secrets
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine, create_engine, event, inspect, make_url, select, text
from sqlalchemy.exc import ArgumentError, DBAPIError
from sqlalchemy.pool import QueuePool

from speakers import migrations
from speakers.errors import (
    CorruptStoreError,
    MissingDriverError,
    NewerStoreError,
    StoreBusyError,
    StoreError,
    StoreMissingError,
)
from speakers.store.error_mapping import meaning, translated
from speakers.store.tables import META

APPLICATION_ID = 0x43564D4F
"""Stamped into every SQLite file of ours, so that another program's database is refused rather than changed."""

QUICK_CHECK_BYTES = 16 * 2**20
"""SQLite files up to this size are checked page by page when opened; larger ones by header and length alone."""

_EMPTY = """
SELECT (SELECT count(*) FROM tenants) < 2
    AND NOT EXISTS (SELECT 1 FROM speakers) AND NOT EXISTS (SELECT 1 FROM conversations) AND NOT EXISTS (SELECT 1 FROM tombstones)
"""


class Store:
    """An open database. Safe to share between threads; never carry one across a fork."""

    def __init__(self, engine: Engine, *, path: Path | None, busy_seconds: float, made: bool = False) -> None:
        self.engine = engine
        self.path = path
        self.made = made  # whether opening made the file
        self.address = str(path) if path is not None else engine.url.render_as_string(hide_password=True)
        self.busy_seconds = busy_seconds

    @classmethod
    def open(cls, address: str | Path, *, create: bool = True, busy_seconds: float = 30.0) -> Store:
        """Open the store at a path or URL, making it or bringing its schema up to date where needed.

        Raises StoreMissingError, CorruptStoreError, NewerStoreError, StoreBusyError or MissingDriverError.
        """
        url, path = _locate(address)
        fresh = path is not None and _inspect_file(path, create=create)
        made = fresh and path is not None and _make_private(path)
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
                f"a memory on PostgreSQL needs the package 'psycopg': pip install 'convemo[postgres]' ({error})"
            ) from None
        store = cls(engine, path=path, busy_seconds=busy_seconds, made=made)
        if path is not None:
            event.listen(engine, "connect", partial(_prepare_sqlite, busy_seconds=busy_seconds))
        else:
            event.listen(
                engine, "connect", partial(_prepare_postgresql, milliseconds=max(1, int(1000 * busy_seconds)))
            )
        event.listen(engine, "begin", _begin)
        try:
            if path is not None and not fresh:
                store._check_sqlite()
            store._migrate()
        except BaseException:
            store.close()
            raise
        return store

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """One snapshot: everything read inside belongs to the same moment."""
        with translated(self.address), self.engine.connect() as plain:
            level = {"isolation_level": "REPEATABLE READ"} if self.path is None else {}
            connection = plain.execution_options(**level)
            with connection.begin():
                yield connection

    @contextmanager
    def write(self) -> Iterator[Connection]:
        """One transaction that holds the write lock from its first statement; acknowledged once this returns."""
        with translated(self.address), self.engine.connect() as plain:
            connection = plain.execution_options(speakers_write=True)
            self._begin_patiently(connection)
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
        """Whether the path is, or would be, one of the store's own files: the database, what SQLite keeps beside it, a cached index or its draft."""
        if self.path is None:
            return False
        if path.exists() and path.samefile(self.path):
            return True
        real, own = path.resolve(), self.path.resolve()
        beside = re.escape(own.name) + r"(-wal|-shm|-journal|-index-\d+(\.\d+\.tmp)?)?"
        return real.parent == own.parent and re.fullmatch(beside, real.name) is not None

    def close(self) -> None:
        """Let go of every connection."""
        self.engine.dispose()

    def discard(self) -> None:
        """Let go of every connection and remove the file, if opening made it, nobody else has it open and no more than one empty tenant is in it."""
        self.close()
        if self.path is None or not self.made:
            return
        try:
            with closing(sqlite3.connect(self.path, timeout=0)) as raw:
                empty = raw.execute(_EMPTY).fetchone() == (1,)
                alone = raw.execute("PRAGMA journal_mode = DELETE").fetchone() == (
                    "delete",
                )  # granted to the only connection there is
        except sqlite3.OperationalError:
            return
        if empty and alone:
            self.path.unlink(missing_ok=True)

    def _begin_patiently(self, connection: Connection) -> None:
        """SQLite answers "locked" at once in a few cases its own busy timeout does not cover, such as recovery after a crash."""
        deadline = time.monotonic() + self.busy_seconds
        while True:
            try:
                connection.begin()
                return
            except DBAPIError as error:
                if (
                    not isinstance(meaning(error, self.address), StoreBusyError)
                    or time.monotonic() > deadline
                ):
                    raise
                connection.rollback()
                time.sleep(0.01)

    def _check_sqlite(self) -> None:
        with (
            self.read() as connection
        ):  # one snapshot: another process may be making the store, its stamp and its tables at once
            stamp = connection.exec_driver_sql("PRAGMA application_id").scalar_one()
            tables = connection.exec_driver_sql("SELECT count(*) FROM sqlite_master").scalar_one()
            if tables and stamp != APPLICATION_ID:
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

    def _migrate(self) -> None:
        if self._version() == migrations.LATEST:
            return
        with self.write() as connection:
            if self.path is None:  # two processes may open an empty server at once
                connection.execute(text("SELECT pg_advisory_xact_lock(:stamp)"), {"stamp": APPLICATION_ID})
            version = _stored_version(connection, self.address)
            if version == migrations.LATEST:
                return
            migrations.apply(connection, version=version)
            if version == 0:
                connection.execute(META.insert(), {"name": "store_key", "value": secrets.token_hex(32)})
                if self.path is not None:
                    connection.exec_driver_sql(f"PRAGMA application_id = {APPLICATION_ID}")

    def _version(self) -> int:
        with self.read() as connection:
            return _stored_version(connection, self.address)


def _stored_version(connection: Connection, address: str) -> int:
    if not inspect(connection).has_table("meta"):
        return 0
    value = connection.execute(
        select(META.c.value).where(META.c.name == "schema_version")
    ).scalar_one_or_none()
    if value is None or not re.fullmatch(r"\d{1,6}", value):
        raise CorruptStoreError(
            f"{address}: has no readable schema version; it is not a speaker store or is damaged"
        )
    if int(value) > migrations.LATEST:
        raise NewerStoreError(
            f"{address}: written with schema {value}; this version reads up to {migrations.LATEST}: pip install --upgrade convemo"
        )
    return int(value)


def _locate(address: str | Path) -> tuple[Any, Path | None]:
    """The engine URL of an address, and the file where it is SQLite."""
    if isinstance(address, Path) or "://" not in address:
        path: Path | None = Path(address).expanduser()
    else:
        try:
            url = make_url(address)
        except ArgumentError:
            raise StoreMissingError(
                "the address of the store is neither a path nor a URL such as postgresql://host/name"
            ) from None
        if url.get_backend_name() == "postgresql":
            return url.set(drivername="postgresql+psycopg"), None
        if url.get_backend_name() != "sqlite":
            raise StoreMissingError(
                f"{url.get_backend_name()}: stores are SQLite files or PostgreSQL databases"
            )
        path = Path(url.database or "")
    if path is None or path.name in ("", ":memory:"):
        raise StoreMissingError("a speaker memory needs a file: name a path such as speakers.db")
    return make_url("sqlite://").set(database=str(path.absolute())), path.absolute()


def _arguments(path: Path | None, busy_seconds: float) -> dict[str, Any]:
    if path is not None:
        # Every transaction here is ended by its own block, so a connection comes back clean and needs no
        # further rollback.
        return {
            "connect_args": {"timeout": busy_seconds, "check_same_thread": False},
            "pool_reset_on_return": None,
        }
    return {"connect_args": {"connect_timeout": max(2, int(busy_seconds))}, "pool_pre_ping": True}


def _inspect_file(path: Path, *, create: bool) -> bool:
    """Whether the file is new. Checks what can be told without the engine: its magic and its length."""
    if not path.parent.is_dir():
        raise StoreMissingError(f"{path}: the folder {path.parent} does not exist; make it first")
    if path.is_dir():
        raise StoreMissingError(f"{path}: is a folder; name a file in it")
    if not path.exists() or path.stat().st_size == 0:
        if not create:
            raise StoreMissingError(f"{path}: there is no speaker memory here; erc label --memory makes one")
        return True
    try:
        with path.open("rb") as file:
            header = file.read(100)
    except OSError as error:
        raise StoreError(f"{path}: {error.strerror}") from None
    if not header.startswith(b"SQLite format 3\x00") or len(header) < 100:
        raise CorruptStoreError(
            f"{path}: not a speaker store (no SQLite header); name another file or restore a backup"
        )
    page = int.from_bytes(header[16:18], "big")
    expected = (65536 if page == 1 else page) * int.from_bytes(header[28:32], "big")
    if path.stat().st_size < expected and not path.with_name(path.name + "-wal").exists():
        raise CorruptStoreError(
            f"{path}: cut short: {path.stat().st_size} bytes of {expected}; restore it from a backup or from an export"
        )
    return False


def _make_private(path: Path) -> bool:
    """Make the file where there is none, for its owner alone; SQLite gives the files beside it the same permissions. Whether it was made."""
    try:
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
        return True
    except FileExistsError:
        return (
            False  # another process was first, or somebody made an empty file with permissions of their own
        )
    except OSError as error:
        raise StoreMissingError(f"{path}: cannot be made: {error.strerror}") from None


def _prepare_sqlite(raw: sqlite3.Connection, _: Any, *, busy_seconds: float) -> None:
    raw.isolation_level = None  # transactions are opened by _begin, never by the driver
    cursor = raw.cursor()
    deadline = time.monotonic() + busy_seconds
    while (
        True
    ):  # two processes that make one store at once: the switch to WAL answers "locked" without waiting
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
    raw.execute(f"SET lock_timeout = {milliseconds}")  # waiting for another process ends on both engines
    raw.commit()


def _begin(connection: Connection) -> None:
    if connection.dialect.name != "sqlite":
        return
    options = connection.get_execution_options()
    if not options.get("speakers_bare"):
        connection.exec_driver_sql("BEGIN IMMEDIATE" if options.get("speakers_write") else "BEGIN")
