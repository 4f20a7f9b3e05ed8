"""Runs store tests on SQLite files and on a real PostgreSQL server in a temporary folder."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from glob import glob
from itertools import count
from pathlib import Path

import pytest
from speakers_support import Clock

from speakers import Registry


@pytest.fixture
def clock() -> Clock:
    return Clock()


def _server_programs() -> Path | None:
    found = shutil.which("initdb")
    folders = [Path(found).resolve().parent] if found else []
    folders += [Path(folder) for folder in sorted(glob("/usr/lib/postgresql/*/bin"), reverse=True)]
    return next(
        (folder for folder in folders if (folder / "initdb").exists() and (folder / "pg_ctl").exists()), None
    )


def _as_plain_user(command: list[str]) -> list[str]:
    """The command as user `postgres` or else `nobody`, because initdb refuses root."""
    if os.geteuid() != 0:
        return command
    return ["setpriv", f"--reuid={_plain_user()}", f"--regid={_plain_user()}", "--clear-groups", *command]


def _plain_user() -> int:
    import pwd

    for name in ("postgres", "nobody"):
        try:
            return pwd.getpwnam(name).pw_uid
        except KeyError:
            continue
    pytest.skip("PostgreSQL refuses to run as root, and there is no user 'postgres' or 'nobody'")


@pytest.fixture(scope="session")
def postgres() -> Iterator[str]:
    """The URL of a server for these tests."""
    pytest.importorskip("psycopg")
    programs = _server_programs()
    if programs is None:
        pytest.skip("no PostgreSQL server binaries (initdb, pg_ctl) on PATH or in /usr/lib/postgresql/*/bin")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    folder = Path(tempfile.mkdtemp(prefix="pg"))  # a socket path has at most 107 bytes
    if os.geteuid() == 0:
        os.chown(folder, _plain_user(), _plain_user())
    run = {"check": True, "capture_output": True, "cwd": folder, "timeout": 120}
    initdb = [
        str(programs / "initdb"),
        "-D",
        str(folder / "data"),
        "-U",
        "tester",
        "--auth=trust",
        "--encoding=UTF8",
        "--no-locale",
        "--no-sync",
    ]
    pg_ctl = [str(programs / "pg_ctl"), "-D", str(folder / "data"), "-w"]
    subprocess.run(_as_plain_user(initdb), **run)
    settings = (
        "listen_addresses=127.0.0.1",
        f"unix_socket_directories={folder}",
        "fsync=off",
        "shared_buffers=16MB",
        "max_connections=60",
    )
    options = " ".join([f"-p {port}", *(f"-c {one}" for one in settings)])
    started = [*pg_ctl, "-o", options, "-l", str(folder / "log"), "start"]
    subprocess.run(
        _as_plain_user(started),
        **(run | {"capture_output": False, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}),
    )
    try:
        yield f"postgresql://tester@127.0.0.1:{port}/postgres"
    finally:
        subprocess.run(_as_plain_user([*pg_ctl, "-m", "immediate", "stop"]), **run)
        shutil.rmtree(folder, ignore_errors=True)


_SCHEMAS = count()


def _new_schema(url: str) -> str:
    import psycopg

    name = f"test_{next(_SCHEMAS)}"
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(f"CREATE SCHEMA {name}")
    return f"{url}?options=-csearch_path%3D{name}"


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.postgres)])
def fresh(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[], str]:
    """Addresses of new, empty stores on either engine."""
    if request.param == "sqlite":
        numbers = count()
        return lambda: str(tmp_path / f"speakers{next(numbers)}.db")
    url = request.getfixturevalue("postgres")
    return lambda: _new_schema(url)


@pytest.fixture
def address(fresh: Callable[[], str]) -> str:
    return fresh()


@pytest.fixture
def registry(address: str, clock: Clock) -> Iterator[Registry]:
    with Registry.open(address, clock=clock) as opened:
        yield opened
