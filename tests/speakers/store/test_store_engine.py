"""The database: damaged files, full disks, tenants, several writers."""

from __future__ import annotations

import os
import resource
import signal
import sqlite3
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from speakers_support import EMBEDDER, Clock, dump, make, meet, vectors
from sqlalchemy import Engine, event

from speakers import END, Options, Registry
from speakers.errors import (
    CorruptStoreError,
    ErasureIncompleteError,
    InvalidRecordError,
    MissingDriverError,
    NewerStoreError,
    SpeakersError,
    StoreBusyError,
    StoreError,
    StoreFullError,
    StoreMissingError,
    UnknownSpeakerError,
    UnknownTenantError,
)


def filled(path: Path, conversations: int = 30) -> None:
    with Registry.open(path) as registry:
        ana = meet(registry, "Ana")
        for number in range(conversations):
            name = f"c{number}"
            registry.record(
                name,
                [make(ana, name, index, text="word " * 50, vector=vectors(1)[0]) for index in range(5)],
                embedder=EMBEDDER,
            )


@pytest.mark.parametrize("kept", [50, 4096, 40_000])
def test_a_truncated_file_is_rejected(tmp_path: Path, kept: int) -> None:
    filled(tmp_path / "s.db")
    raw = (tmp_path / "s.db").read_bytes()
    assert len(raw) > 40_960
    (tmp_path / "s.db").write_bytes(raw[:kept])
    with pytest.raises(CorruptStoreError, match=r"s\.db.*restore"):
        Registry.open(tmp_path / "s.db")


def test_a_damaged_file_is_rejected(tmp_path: Path) -> None:
    filled(tmp_path / "s.db")
    raw = bytearray((tmp_path / "s.db").read_bytes())
    for start in range(4096, len(raw), 4096):
        raw[start : start + 200] = b"\xff" * 200
    (tmp_path / "s.db").write_bytes(bytes(raw))
    with pytest.raises(CorruptStoreError, match="restore"):
        Registry.open(tmp_path / "s.db")


def test_files_of_other_programs_are_rejected(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("dear diary, " * 20)
    with pytest.raises(CorruptStoreError, match="not a speaker store"):
        Registry.open(tmp_path / "notes.txt")
    with sqlite3.connect(tmp_path / "other.db") as connection:
        connection.execute("CREATE TABLE cakes (name TEXT)")
    connection.close()
    with pytest.raises(CorruptStoreError, match="another file"):
        Registry.open(tmp_path / "other.db")


@pytest.mark.parametrize(
    "address", ["nowhere/s.db", ":memory:", "mysql://host/db", ".", "postgresql://tester@127.0.0.1:1/nothing"]
)
def test_invalid_addresses_raise_store_errors(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, address: str
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(StoreError):
        Registry.open(address)


def test_a_missing_file_is_not_created_without_create(tmp_path: Path) -> None:
    with pytest.raises(StoreMissingError):
        Registry.open(tmp_path / "s.db", options=Options(create=False))
    assert not list(tmp_path.iterdir())


def test_a_missing_tenant_is_not_created_without_create(address: str) -> None:
    Registry.open(address).close()
    with pytest.raises(UnknownTenantError, match="'defualt'"):
        Registry.open(address, tenant="defualt", options=Options(create=False))
    with Registry.open(address) as registry:
        assert [row[1] for row in dump(registry)["tenants"]] == ["default"]


def test_a_new_memory_is_private_and_an_existing_one_keeps_its_permissions(tmp_path: Path) -> None:
    path, before = tmp_path / "s.db", os.umask(0)
    try:
        for permissions in (0o600, 0o640):
            with Registry.open(path) as registry:
                ana = meet(registry, "Ana")
                registry.record(
                    str(permissions),
                    [make(ana, str(permissions), 0, vector=vectors(1)[0])],
                    embedder=EMBEDDER,
                )
                registry.rebuild()
                found = {one.name: one.stat().st_mode & 0o777 for one in tmp_path.iterdir()}
                assert found == dict.fromkeys(("s.db", "s.db-wal", "s.db-shm", "s.db-index-1"), permissions)
            path.chmod(0o640)
    finally:
        os.umask(before)


@contextmanager
def file_size_limit(size: int) -> Iterator[None]:
    """Simulates a full disk: no file of this process may grow beyond `size` bytes."""
    old_handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, old_handler)


def test_a_full_disk_fails_the_write_and_loses_nothing(tmp_path: Path) -> None:
    path = tmp_path / "s.db"
    with Registry.open(path) as registry:
        ana = meet(registry, "Ana")
        registry.record("c0", [make(ana, "c0", 0, text="kept")])
        acknowledged = 1
        full = max(one.stat().st_size for one in tmp_path.iterdir()) + 100_000
        with file_size_limit(full):
            with pytest.raises(StoreFullError, match="free some space"):  # noqa: PT012  the disk is full at some turn of the loop
                for number in range(1, 200):
                    registry.record(f"c{number}", [make(ana, f"c{number}", 0, text="x" * 20_000)])
                    acknowledged += 1
            assert registry.context(ana, before=END).utterances == acknowledged
        assert registry.record("later", [make(ana, "later", 0)]).recorded == 1
        assert registry.context(ana, before=END).utterances == acknowledged + 1
    with Registry.open(path) as again:
        assert again.context(ana, before=END).utterances == acknowledged + 1


def test_a_writer_that_waits_too_long_raises_busy(registry: Registry, address: str) -> None:
    ana = meet(registry, "Ana")
    impatient = Registry.open(address, options=Options(busy_seconds=0.1))
    with registry._session.write():
        with pytest.raises(StoreBusyError, match="another process"):
            impatient.record("c", [make(ana, "c", 0)])
        assert impatient.context(ana, before=END).utterances == 0  # reading still works
    impatient.close()


def test_abandoned_transaction_stores_nothing(registry: Registry, address: str) -> None:
    ana = meet(registry, "Ana")
    before = dump(registry)
    broken = Registry.open(address)

    def half_done() -> None:
        with broken._session.write() as connection:
            connection.exec_driver_sql("UPDATE tenants SET next_sequence = 77")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        half_done()
    broken.close()
    assert dump(registry) == before
    assert registry.record("c", [make(ana, "c", 0)]).recorded == 1


def test_threads_and_stores_write_together_without_loss(address: str) -> None:
    stores = [Registry.open(address) for _ in range(3)]
    failures: list[BaseException] = []

    def work(number: int) -> None:
        registry = stores[number % 3]
        try:
            for turn in range(6):
                name = f"w{number}-{turn}"
                speaker = meet(registry, f"Person {'abc'[turn % 3]}{turn % 3}", name)
                registry.record(
                    name, [make(speaker, name, index, weights={f"l{turn}": 0.5}) for index in range(3)]
                )
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    rows = dump(stores[0])
    assert len(rows["observations"]) == 108
    assert len(rows["speakers"]) == 3
    sequences = sorted(row[2] for row in rows["conversations"])  # type: ignore[type-var]
    assert sequences == list(range(1, 37))
    for store in stores:
        store.close()


def test_several_threads_create_one_store_at_once(address: str) -> None:
    gate, made, failures = threading.Barrier(6), [], []

    def work() -> None:
        gate.wait()
        try:
            with Registry.open(address) as registry:
                made.append(registry.tenant.secret)
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=work) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert len(set(made)) == 1


def test_a_store_created_during_the_check_is_accepted(tmp_path: Path) -> None:
    path = tmp_path / "s.db"
    with sqlite3.connect(path) as begun:
        begun.execute(
            "PRAGMA journal_mode = WAL"
        )  # the other process has created the file, but not yet its application id and tables
    begun.close()
    made: list[object] = []

    def finish(connection: object, cursor: object, statement: str, *_: object) -> None:
        if "application_id" in statement and not made:  # between the two queries of the check
            made.append(None)
            with Registry.open(path) as other:
                made[0] = other.tenant.secret

    event.listen(Engine, "after_cursor_execute", finish)
    try:
        with Registry.open(path) as registry:
            assert made == [registry.tenant.secret]
    finally:
        event.remove(Engine, "after_cursor_execute", finish)


CANARY = "kanarienvogel"


def test_tenants_cannot_read_data_of_each_other(address: str, clock: Clock) -> None:
    with (
        Registry.open(address, tenant="a", clock=clock) as one,
        Registry.open(address, tenant="b", clock=clock) as other,
    ):
        secret = meet(one, CANARY)
        one.record(
            "c",
            [make(secret, "c", 0, text=CANARY, weights={CANARY: 1.0}, vector=vectors(1)[0])],
            embedder=EMBEDDER,
        )
        one.write_bio(secret, before=END)
        one.rename(secret, CANARY + "2")
        outside = (
            other.find,
            lambda who: other.context(who, before=END),
            lambda who: other.rename(who, "x"),
            other.forget,
            lambda who: list(other.export(who)),
        )
        for use in outside:
            for who in (secret, CANARY):
                with pytest.raises(UnknownSpeakerError) as raised:
                    use(who)
                with pytest.raises(UnknownSpeakerError) as absent:
                    use(str(who)[:-1] + ("x" if who == CANARY else "0"))
                assert type(raised.value) is type(absent.value)
        with pytest.raises(UnknownSpeakerError):
            other.record("c", [make(secret, "c", 0)])
        assert other.resolve(CANARY, conversation_id="c").created
        mine = meet(other, "Ana")
        other.record("c", [make(mine, "c", 0, vector=vectors(1, 4)[0])], embedder=EMBEDDER)
        shown = (
            "\n".join(other.export())
            + repr(other.log())
            + repr(other.recall(vectors(1)[0], speaker=None, before=END, k=9))
        )
        assert secret not in shown
        assert (
            shown.count(CANARY) == 4
        )  # the name given to this tenant itself: as name, alias, matching form and skeleton
        one.forget(secret)
        assert not other.resolve(CANARY, conversation_id="c").erased


def test_answers_of_a_tenant_do_not_depend_on_other_tenants(fresh: object, clock: Clock) -> None:
    answers = []
    for crowded in (False, True):
        address = fresh()  # type: ignore[operator]
        with (
            Registry.open(address, tenant="a", clock=clock) as one,
            Registry.open(address, tenant="b", clock=clock) as other,
        ):
            for number in range(3):
                for registry in (one, other) if crowded else (one,):
                    ana, name = meet(registry, "Ana"), f"c{number}"
                    seed = number if registry is one else 50
                    registry.record(
                        name,
                        [make(ana, name, 0, weights={"joy": 0.5}, vector=vectors(1, seed)[0])],
                        embedder=EMBEDDER,
                    )
            hits = one.recall(vectors(1, 9)[0], speaker=None, before=END, k=9).observations
            context = one.context(meet(one, "Ana"), before=END)
            answers.append(
                ([(hit.observation.point, hit.score) for hit in hits], context.summary, context.utterances)
            )
    assert answers[0] == answers[1]


def test_postgresql_without_its_driver_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "psycopg", None)
    with pytest.raises(MissingDriverError, match=r"convemo\[postgres\]") as caught:
        Registry.open("postgresql://localhost/memory")
    assert caught.value.exit_code == 4


def test_exit_codes_separate_wrong_input_from_temporary_failures() -> None:
    named = {StoreMissingError, CorruptStoreError, NewerStoreError, InvalidRecordError, UnknownSpeakerError}
    assert {kind.exit_code for kind in named} == {2}
    assert {
        kind.exit_code
        for kind in (SpeakersError, StoreError, StoreBusyError, StoreFullError, ErasureIncompleteError)
    } == {1}
