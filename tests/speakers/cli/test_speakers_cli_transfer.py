"""`erc speakers export`, `import` and `rebuild`, and the removal of an unused new memory."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from speakers_support import meet, run_command
from typer.testing import CliRunner

from erc.cli.speakers import app
from erc.errors import InputError
from speakers import Options, Registry
from speakers.errors import InvalidRecordError, UnknownSpeakerError, UnknownTenantError


def test_export_forget_import(memory: str, tmp_path: Path) -> None:
    kept = tmp_path / "bo.jsonl"
    run_command(memory, "export", "Bo", "--output", str(kept))
    assert run_command(memory, "export", "Bo") == kept.read_text(encoding="utf-8")
    run_command(memory, "forget", "Bo", code=1, feed="n\n")
    assert json.loads(run_command(memory, "forget", "Bo", "--yes", "--json"))["observations"] == 3
    assert json.loads(run_command(memory, "import", str(kept), "--json"))["erased"] == 3
    elsewhere = str(tmp_path / "new.db")
    assert json.loads(run_command(elsewhere, "import", str(kept), "--json"))["observations"] == 3


def test_rebuild_counts_vectors(memory: str) -> None:
    assert json.loads(run_command(memory, "rebuild", "--json")) == {"vectors": 1}


@pytest.mark.parametrize("name", ["s.db", "s.db-wal", "s.db-shm", "s.db-index-1", "link.db", "hard.db"])
def test_export_rejects_the_memorys_own_files(memory: str, tmp_path: Path, name: str) -> None:
    (tmp_path / "link.db").symlink_to(memory)
    os.link(memory, tmp_path / "hard.db")
    with pytest.raises(InputError, match="the speaker memory itself"):
        run_command(memory, "export", "-o", str(tmp_path / name))
    assert [one["name"] for one in json.loads(run_command(memory, "list", "--json"))] == ["Ana", "Bo"]


def test_export_creates_a_private_file(memory: str, tmp_path: Path) -> None:
    kept = tmp_path / "all.jsonl"
    run_command(memory, "export", "-o", str(kept))
    assert kept.stat().st_mode & 0o777 == 0o600


def test_failed_export_keeps_the_old_file(memory: str, tmp_path: Path) -> None:
    kept = tmp_path / "all.jsonl"
    kept.write_text("before", encoding="utf-8")
    with pytest.raises(UnknownSpeakerError):
        run_command(memory, "export", "Nobody", "-o", str(kept))
    assert kept.read_text(encoding="utf-8") == "before"
    assert [one.name for one in tmp_path.iterdir() if one.suffix == ".tmp"] == []


@pytest.mark.parametrize(
    ("place", "words"), [("nowhere/all.jsonl", "there is no folder"), (".", "this is a folder")]
)
def test_export_to_a_place_that_cannot_be_written_raises(
    memory: str, tmp_path: Path, place: str, words: str
) -> None:
    with pytest.raises(InputError, match=words):
        run_command(memory, "export", "-o", str(tmp_path / place))


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("cake".encode("utf-16"), "x.jsonl:1: not UTF-8"),
        (b'{"kind": "memory", "version": 1}\n{"kind": "caf\xe9"}', "x.jsonl:2: not UTF-8"),
        (b"{", "x.jsonl:1: not a JSON"),
    ],
)
def test_failed_import_leaves_no_new_memory(tmp_path: Path, content: bytes, words: str) -> None:
    held = tmp_path / "x.jsonl"
    held.write_bytes(content)
    with pytest.raises(InvalidRecordError, match=words):
        run_command(str(tmp_path / "new.db"), "import", str(held))
    assert list(tmp_path.iterdir()) == [held]


def test_failed_import_changes_nothing_in_an_existing_memory(memory: str, tmp_path: Path) -> None:
    held = tmp_path / "x.jsonl"
    held.write_bytes(b"{")
    for tenant in ("default", "other"):
        with pytest.raises(InvalidRecordError):
            run_command(memory, "import", str(held), "--tenant", tenant)
    assert [one["name"] for one in json.loads(run_command(memory, "list", "--json"))] == ["Ana", "Bo"]
    with pytest.raises(UnknownTenantError):
        run_command(memory, "list", "--tenant", "other")


@pytest.mark.parametrize("met_at", ["before", "after", "closed before"])
def test_abandon_keeps_a_new_memory_that_another_process_uses(tmp_path: Path, met_at: str) -> None:
    path = tmp_path / "new.db"
    mine, other = Registry.open(path), Registry.open(path)
    if met_at != "after":
        meet(other, "Ana")
    if met_at == "closed before":
        other.close()
    mine.abandon()
    if met_at == "after":
        meet(other, "Ana")
    other.close()
    with Registry.open(path, options=Options(create=False)) as again:
        assert [one.name for one in again.speakers()] == ["Ana"]


def test_import_reads_a_byte_order_mark(memory: str, tmp_path: Path) -> None:
    held = tmp_path / "x.jsonl"
    held.write_bytes(b"\xef\xbb\xbf" + run_command(memory, "export").encode())
    assert json.loads(run_command(str(tmp_path / "new.db"), "import", str(held), "--json"))["speakers"] == 2


def test_import_notes_that_the_log_is_not_imported(memory: str, tmp_path: Path) -> None:
    run_command(memory, "rename", "Ana", "Anna")
    held = tmp_path / "x.jsonl"
    run_command(memory, "export", "-o", str(held))
    done = CliRunner().invoke(app, ["import", str(held), "--memory", str(tmp_path / "new.db")])
    assert "note: 1 changes in the export's log are not imported" in done.stderr
    assert "Anna" in run_command(str(tmp_path / "new.db"), "list")
