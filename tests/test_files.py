"""Files written whole or not at all, and what dead processes leave."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

from erc.errors import ArtefactError
from erc.files import STALE, keep_first, part_of, private_file, private_folder, save_arrays, sweep


@pytest.fixture(scope="module")
def dead() -> int:
    """The number of a process that is gone."""
    done = subprocess.Popen([sys.executable, "-c", ""])
    done.wait()
    return done.pid


def left(folder: Path, name: str, *, age: float) -> Path:
    path = folder / name
    path.write_bytes(b"half")
    os.utime(path, (time.time() - age,) * 2)
    return path


def test_sweep_takes_the_old_files_of_a_dead_process_with_their_journals(tmp_path: Path, dead: int) -> None:
    old = [left(tmp_path, f"speakers-ab.db.{dead}.part{end}", age=STALE + 9) for end in ("", "-wal", "-shm")]
    assert sorted(sweep(tmp_path)) == sorted(old)
    assert list(tmp_path.iterdir()) == []


def test_sweep_leaves_what_somebody_may_still_be_writing(tmp_path: Path, dead: int) -> None:
    kept = [
        left(tmp_path, f"a.db.{dead}.part", age=9),  # a process of another machine may have this number
        left(tmp_path, f"b.db.{os.getpid()}.part", age=STALE + 9),
        left(tmp_path, f"c.db.{dead}.part", age=STALE + 9),
        left(tmp_path, f"c.db.{dead}.part-wal", age=9),  # a database that is filled changes here alone
    ]
    assert sweep(tmp_path) == []
    assert sorted(tmp_path.iterdir()) == sorted(kept)


def test_sweep_leaves_every_other_file(tmp_path: Path, dead: int) -> None:
    for name in (
        "speakers-ab.db",
        "written.jsonl",
        "x.part",
        f"x.{dead}.part.txt",
        f".{dead}.part",
        "x.12a.part",
    ):
        left(tmp_path, name, age=STALE + 9)
    assert sweep(tmp_path) == []


def test_sweep_of_a_folder_that_is_not_there_does_nothing(tmp_path: Path) -> None:
    assert sweep(tmp_path / "none") == []


def test_arrays_that_cannot_be_written_leave_the_old_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "deep" / "v.safetensors"
    save_arrays({"vectors": np.arange(6, dtype=np.float32).reshape(2, 3)}, path)
    monkeypatch.setattr(os, "replace", lambda *places: (_ for _ in ()).throw(OSError("full")))
    with pytest.raises(OSError, match="full"):
        save_arrays({"vectors": np.zeros((1, 1))}, path)
    assert load_file(path)["vectors"].tolist() == [[0, 1, 2], [3, 4, 5]]
    assert not part_of(path).exists()


def test_private_file_and_its_folder_are_closed_to_others(tmp_path: Path) -> None:
    open_one = tmp_path / "open.db"
    open_one.write_bytes(b"words")
    open_one.chmod(0o644)
    made, closed = private_file(tmp_path / "new" / "a.db"), private_file(open_one)
    assert [path.stat().st_mode & 0o777 for path in (made, made.parent, closed)] == [0o600, 0o700, 0o600]
    assert (made.read_bytes(), closed.read_bytes()) == (b"", b"words")


def test_private_folder_closes_one_it_makes_and_leaves_one_that_is_there_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "open").mkdir(mode=0o755)
    assert [private_folder(tmp_path / name).stat().st_mode & 0o777 for name in ("open", "new")] == [
        0o755,
        0o700,
    ]


def test_private_folder_that_cannot_be_made_or_written_to_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(ArtefactError, match=r"file/below: cannot be made"):
        private_folder(tmp_path / "file" / "below")
    monkeypatch.setattr(os, "access", lambda *given: False)  # for root every folder is open
    with pytest.raises(ArtefactError, match="cannot be written to"):
        private_folder(tmp_path)


@pytest.mark.parametrize("links", [True, False])
def test_first_of_two_processes_keeps_its_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, links: bool
) -> None:
    def unable(*args: object) -> None:
        raise OSError("no hard links here")

    if not links:
        monkeypatch.setattr(os, "link", unable)
    path, first, second = (tmp_path / name for name in ("memory.db", "1.part", "2.part"))
    first.write_bytes(b"first")
    second.write_bytes(b"second")
    keep_first(first, path)
    opened = path.stat().st_ino
    keep_first(second, path)
    assert (path.read_bytes(), path.stat().st_ino, list(tmp_path.iterdir())) == (b"first", opened, [path])
