"""Reads the address of a store and checks a SQLite file before the database engine opens it."""

from __future__ import annotations

import os
from pathlib import Path

from sqlalchemy import URL, make_url
from sqlalchemy.exc import ArgumentError

from speakers.errors import CorruptStoreError, StoreError, StoreMissingError


def locate(address: str | Path) -> tuple[URL, Path | None]:
    """The engine URL of a path or URL, and the file where the engine is SQLite.

    Raises:
        StoreMissingError: the address is neither a file nor a SQLite or PostgreSQL URL.
    """
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
                f"{url.get_backend_name()}: a store is a SQLite file or a PostgreSQL database"
            )
        path = Path(url.database or "")
    if path is None or path.name in ("", ":memory:"):
        raise StoreMissingError("a speaker memory needs a file: name a path such as speakers.db")
    return make_url("sqlite://").set(database=str(path.absolute())), path.absolute()


def inspect_file(path: Path, *, create: bool) -> bool:
    """Whether the file is new. Checks the header and the length of an existing one.

    Raises:
        StoreMissingError: the folder or, with `create=False`, the file does not exist.
        CorruptStoreError: the file has no SQLite header or is shorter than its header says.
        StoreError: the file cannot be read.
    """
    if not path.parent.is_dir():
        raise StoreMissingError(f"{path}: the folder {path.parent} does not exist; create it first")
    if path.is_dir():
        raise StoreMissingError(f"{path}: is a folder; name a file in it")
    if not path.exists() or path.stat().st_size == 0:
        if not create:
            raise StoreMissingError(f"{path}: no speaker memory here; erc label --memory creates one")
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
    size = path.stat().st_size
    if size < expected and not path.with_name(path.name + "-wal").exists():
        raise CorruptStoreError(
            f"{path}: truncated: {size} bytes of {expected}; restore it from a backup or from an export"
        )
    return False


def create_private(path: Path) -> bool:
    """Create a missing file that only its owner can read; whether it was created.

    SQLite gives its other files the same permissions.

    Raises:
        StoreMissingError: the file cannot be created.
    """
    try:
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
        return True
    except FileExistsError:  # by another process, or an empty file that keeps its permissions
        return False
    except OSError as error:
        raise StoreMissingError(f"{path}: cannot be created: {error.strerror}") from None
