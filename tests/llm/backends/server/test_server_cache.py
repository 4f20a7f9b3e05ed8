"""The cache of a server's answers: several processes, and errors of files that cannot be used."""

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
    """Another user's connection to a file that is as yet nothing but new."""
    with closing(sqlite3.connect(path, isolation_level=None, check_same_thread=False)) as connection:
        yield connection


@pytest.mark.parametrize("lock", ["IMMEDIATE", "EXCLUSIVE"])
def test_cache_that_another_begins_at_the_same_moment_is_waited_for(path, other, lock):
    other.execute(f"BEGIN {lock}")
    release = threading.Timer(0.2, other.execute, ["COMMIT"])
    release.start()
    with AnswerCache(path) as cache:
        cache.put("key", [1.0])
        assert cache.get("key") == [1.0]
    release.join()


def test_locked_cache_is_reported_as_locked_and_not_changed(path, other):
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


def test_answer_that_a_lock_keeps_from_being_stored_is_reported_so(path, other):
    with AnswerCache(path, patience=0.05) as cache:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(ArtefactError, match="another process locks it") as found:
            cache.put("key", [1.0])
    assert "remove" not in str(found.value)


def test_only_a_damaged_cache_is_to_be_removed(tmp_path, path):
    path.write_bytes(b"no database at all" * 100)
    with pytest.raises(ArtefactError, match="remove the file"):
        AnswerCache(path)
    with pytest.raises(ArtefactError, match="name another --cache") as found:
        AnswerCache(tmp_path)  # a folder
    assert "remove" not in str(found.value)


def test_answer_that_is_no_json_is_reported_as_damage(path):
    with AnswerCache(path) as cache:
        cache._connection.execute("INSERT INTO answers VALUES ('key', '{half')")
        with pytest.raises(ArtefactError, match="remove the file"):
            cache.get("key")
