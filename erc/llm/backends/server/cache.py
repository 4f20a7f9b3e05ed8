"""Answers of a server kept on disk, so that a run that is repeated or resumed asks nothing twice."""

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
"""Raised where the modes ask in other words than before, or read answers otherwise."""
_SCHEMA = "CREATE TABLE IF NOT EXISTS answers (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID"
_LOCKED = frozenset({sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_PROTOCOL})
_DAMAGED = frozenset({sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB})
_BETWEEN = 0.02
"""Seconds between two tries to open a file that is locked."""


def cache_key(
    *,
    prompt_sha256: str,
    model_id: str,
    mode: str,
    labels: Sequence[str],
    tokens: Sequence[Sequence[int]] = (),
) -> str:
    """The key of one prompt's scores: what was asked, of which model, how, over which labels in which order. No text is kept.

    `tokens` are those of prompt and labels, so that another tokenizer or chat template asks anew.
    """
    asked = [_VERSION, prompt_sha256, model_id, mode, list(labels), [list(ids) for ids in tokens]]
    return hashlib.sha256(json.dumps(asked, ensure_ascii=False).encode()).hexdigest()


class AnswerCache:
    """A SQLite file of JSON values by key, for its owner alone (0600). Safe among threads, and among processes as far as SQLite is.

    The files that SQLite lays beside it take over its permissions. A file that others hold locked is waited
    for, some `patience` seconds. Raises ArtefactError where the file cannot be used, with what to do: only
    one that is damaged is to be removed.
    """

    def __init__(self, path: Path, *, patience: float = 30.0) -> None:
        self.path = path
        self._lock = threading.Lock()
        with self._told():
            private_file(path)
            self._connection = _opened(path, patience)

    def get(self, key: str) -> Any | None:
        """The value under `key`, None where there is none. Raises ArtefactError for a damaged file."""
        with self._lock, self._told():
            row = self._connection.execute("SELECT value FROM answers WHERE key = ?", (key,)).fetchone()
            return None if row is None else json.loads(row[0])

    def put(self, key: str, value: Any) -> None:
        """Keeps `value`; a value already there is replaced."""
        with self._lock, self._told():
            self._connection.execute("INSERT OR REPLACE INTO answers VALUES (?, ?)", (key, json.dumps(value)))

    def __len__(self) -> int:
        with self._lock, self._told():
            return int(self._connection.execute("SELECT COUNT(*) FROM answers").fetchone()[0])

    @contextmanager
    def _told(self) -> Iterator[None]:
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
    """A connection to the file, its table made where it is missing.

    SQLite waits for most locks by itself, but not for the one that a new file's first journal takes: of
    several processes that begin at the same moment all but one are turned away at once, and have to ask
    again.
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
        return "another process holds it, and the file itself is sound; try again when that one is done, or name another --cache"
    if code in _DAMAGED or isinstance(error, ValueError):
        return "remove the file, and answers are asked for anew"
    return "see that there is room and that the file may be written to, or name another --cache"
