"""The cache of a server's answers: use by several processes, and errors for unusable files."""

from __future__ import annotations

import sqlite3
import threading
from contextlib import closing

import pytest

from erc.errors import ArtefactError
from erc.llm.backends.server.cache import AnswerCache


@pytest.fixture
def path(tmp_path):
    return tmp_path / "answers.sqlite"


@pytest.fixture
def other(path):
    """Another process's connection to a new, empty cache file."""
    with closing(sqlite3.connect(path, isolation_level=None, check_same_thread=False)) as connection:
        yield connection


@pytest.mark.parametrize("lock", ["IMMEDIATE", "EXCLUSIVE"])
def test_cache_waits_for_a_process_that_creates_it(path, other, lock):
    other.execute(f"BEGIN {lock}")
    release = threading.Timer(0.2, other.execute, ["COMMIT"])
    release.start()
    with AnswerCache(path) as cache:
        cache.put("key", [1.0])
        assert cache.get("key") == [1.0]
    release.join()


def test_locked_cache_raises_an_error_and_is_unchanged(path, other):
    with AnswerCache(path) as cache:
        cache.put("key", [1.0])
    other.execute("PRAGMA journal_mode=DELETE")
    other.execute("BEGIN EXCLUSIVE")
    with pytest.raises(
        ArtefactError, match=r"answers\.sqlite.*locked.*another process locks it.*try again"
    ) as found:
        AnswerCache(path, patience=0.05)
    assert "remove" not in str(found.value)
    other.execute("COMMIT")
    with AnswerCache(path) as cache:
        assert cache.get("key") == [1.0]


def test_put_into_a_locked_cache_raises_an_error(path, other):
    with AnswerCache(path, patience=0.05) as cache:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(ArtefactError, match="another process locks it") as found:
            cache.put("key", [1.0])
    assert "remove" not in str(found.value)


def test_cache_error_advises_removal_only_of_a_damaged_file(tmp_path, path):
    path.write_bytes(b"no database at all" * 100)
    with pytest.raises(ArtefactError, match="remove the file"):
        AnswerCache(path)
    with pytest.raises(ArtefactError, match="name another --cache") as found:
        AnswerCache(tmp_path)  # a folder
    assert "remove" not in str(found.value)


def test_cached_answer_of_invalid_json_is_reported_as_damage(path):
    with AnswerCache(path) as cache:
        cache._connection.execute("INSERT INTO answers VALUES ('key', '{half')")
        with pytest.raises(ArtefactError, match="remove the file"):
            cache.get("key")
