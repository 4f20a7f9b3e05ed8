"""Answers of a server kept on disk, so that a run that is repeated or resumed asks nothing twice."""

from __future__ import annotations

import hashlib
import json
import sqlite3
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any

from erc.errors import ArtefactError
from erc.persistence.parts import private_file

_VERSION = 3
"""Raised where the modes ask in other words than before, or read answers otherwise."""
_SCHEMA = "CREATE TABLE IF NOT EXISTS answers (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID"


def cache_key(*, prompt_sha256: str, model_id: str, mode: str, labels: Sequence[str], tokens: Sequence[Sequence[int]] = ()) -> str:
    """The key of one prompt's scores: what was asked, of which model, how, over which labels in which order. No text is kept.

    `tokens` are those of prompt and labels, so that another tokenizer or chat template asks anew.
    """
    asked = [_VERSION, prompt_sha256, model_id, mode, list(labels), [list(ids) for ids in tokens]]
    return hashlib.sha256(json.dumps(asked, ensure_ascii=False).encode()).hexdigest()


class AnswerCache:
    """A SQLite file of JSON values by key, for its owner alone (0600). Safe among threads, and among processes as far as SQLite is.

    The files that SQLite lays beside it take over its permissions.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock = threading.Lock()
        try:
            private_file(path)
            self._connection = sqlite3.connect(path, check_same_thread=False, timeout=30.0, isolation_level=None)
            self._connection.execute("PRAGMA journal_mode=WAL")
            self._connection.execute(_SCHEMA)
        except (OSError, sqlite3.Error) as error:
            raise ArtefactError(f"{path}: not usable as an answer cache ({error}): remove the file or name another") from None

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
        except (sqlite3.Error, ValueError) as error:
            raise ArtefactError(
                f"{self.path}: the answer cache cannot be read or written ({error}): remove the file, and answers are asked for anew"
            ) from None

    def close(self) -> None:
        """Closes the file."""
        with self._lock:
            self._connection.close()

    def __enter__(self) -> AnswerCache:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()
