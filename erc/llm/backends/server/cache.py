"""Stores a server's answers on disk, so a repeated or resumed run sends no request twice."""

from __future__ import annotations

import hashlib
import json
import sqlite3
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any

from erc.errors import ArtefactError
from erc.files import private_file

_VERSION = 3
"""Increase when the modes ask differently or read answers differently."""
_SCHEMA = "CREATE TABLE IF NOT EXISTS answers (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID"
_LOCKED = frozenset({sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_PROTOCOL})
_DAMAGED = frozenset({sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB})
_BETWEEN = 0.02
"""Seconds between two attempts to open a locked file."""


def cache_key(
    *,
    prompt_sha256: str,
    model_id: str,
    mode: str,
    labels: Sequence[str],
    tokens: Sequence[Sequence[int]] = (),
) -> str:
    """The key of one prompt's scores: a hash of prompt, model, mode and labels in order. It stores no text.

    `tokens` are those of prompt and labels, so the key depends on the tokenizer and the chat template.
    """
    asked = [_VERSION, prompt_sha256, model_id, mode, list(labels), [list(ids) for ids in tokens]]
    return hashlib.sha256(json.dumps(asked, ensure_ascii=False).encode()).hexdigest()


class AnswerCache:
    """A SQLite file of JSON values by key, readable by its owner only (0600).

    Thread-safe, and safe across processes within the limits of SQLite. SQLite's own side files inherit the
    permissions. A locked file is retried for about `patience` seconds.

    Raises:
        ArtefactError: the file cannot be used. The message gives the remedy; only a damaged file has to be
            removed.
    """

    def __init__(self, path: Path, *, patience: float = 30.0) -> None:
        self.path = path
        self._lock = threading.Lock()
        with self._errors_named():
            private_file(path)
            self._connection = _opened(path, patience)

    def get(self, key: str) -> Any | None:
        """The value under `key`; None without one.

        Raises:
            ArtefactError: the file cannot be read.
        """
        with self._lock, self._errors_named():
            row = self._connection.execute("SELECT value FROM answers WHERE key = ?", (key,)).fetchone()
            return None if row is None else json.loads(row[0])

    def put(self, key: str, value: Any) -> None:
        """Stores `value`, replacing an earlier one.

        Raises:
            ArtefactError: the file cannot be written.
        """
        with self._lock, self._errors_named():
            self._connection.execute("INSERT OR REPLACE INTO answers VALUES (?, ?)", (key, json.dumps(value)))

    def __len__(self) -> int:
        with self._lock, self._errors_named():
            return int(self._connection.execute("SELECT COUNT(*) FROM answers").fetchone()[0])

    @contextmanager
    def _errors_named(self) -> Iterator[None]:
        try:
            yield
        except (sqlite3.Error, OSError, ValueError) as error:
            raise ArtefactError(
                f"{self.path}: the answer cache cannot be used ({error}): {_advice(error)}"
            ) from None

    def close(self) -> None:
        """Closes the file."""
        with self._lock:
            self._connection.close()

    def __enter__(self) -> AnswerCache:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _opened(path: Path, patience: float) -> sqlite3.Connection:
    """A connection to the file, whose table is created if missing.

    SQLite waits for most locks, but not for the one that creates a new file's journal. If several
    processes start together, all but one get an error immediately and must retry.
    """
    until = time.monotonic() + patience
    while True:
        connection = sqlite3.connect(path, check_same_thread=False, timeout=patience, isolation_level=None)
        try:
            connection.execute("PRAGMA journal_mode=WAL")
            connection.execute(_SCHEMA)
        except BaseException as error:
            connection.close()
            if _code(error) not in _LOCKED or time.monotonic() > until:
                raise
        else:
            return connection
        time.sleep(_BETWEEN)


def _code(error: BaseException) -> int | None:
    """SQLite's primary result code."""
    code = getattr(error, "sqlite_errorcode", None)
    return None if code is None else code & 0xFF


def _advice(error: BaseException) -> str:
    code = _code(error)
    if code in _LOCKED:
        return "another process locks it and the file is intact; try again later, or name another --cache"
    if code in _DAMAGED or isinstance(error, ValueError):
        return "remove the file, and answers are asked for again"
    return "see that there is room and that the file may be written to, or name another --cache"
