"""`erc speakers`: thin shells, so one test per way of use."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path

import pytest
from speakers_support import EMBEDDER, make, meet, vectors
from typer.testing import CliRunner

from erc.cli.speakers import app
from erc.errors import InputError
from speakers import END, Options, Registry
from speakers.errors import InvalidRecordError, UnknownSpeakerError, UnknownTenantError


@pytest.fixture
def memory(tmp_path: Path) -> str:
    path = tmp_path / "s.db"
    with Registry.open(path) as registry:
        for number in range(2):
            people = enumerate(["Ana", "Bo"])
            lines = [
                make(meet(registry, name), f"c{number}", index, text=f"[red] {name}", weights={"joy": 0.5})
                for index, name in people
            ]
            registry.record(f"c{number}", lines)
        registry.record("c9", [make(meet(registry, "Bo"), "c9", 0, vector=vectors(1)[0])], embedder=EMBEDDER)
    return str(path)


def run(memory: str, *words: str, code: int = 0, feed: str | None = None) -> str:
    done = CliRunner(env={"CONVEMO_MEMORY": memory, "COLUMNS": "200"}).invoke(app, list(words), input=feed)
    if done.exception is not None and not isinstance(done.exception, SystemExit):
        raise done.exception
    assert done.exit_code == code, done.output
    return done.stdout


def test_list_counts_everybody(memory: str) -> None:
    people = json.loads(run(memory, "list", "--json"))
    assert [(one["name"], one["utterances"], one["conversations"]) for one in people] == [
        ("Ana", 2, 2),
        ("Bo", 3, 3),
    ]
    assert "Ana" in run(memory, "list")


def test_show_prints_words_as_they_are(memory: str) -> None:
    assert "joy: [red] Ana" in run(memory, "show", "ana")
    shown = json.loads(run(memory, "show", "Ana", "--json"))
    assert shown["context"]["observations"][0]["text"] == "[red] Ana"


def test_path_is_the_file(memory: str) -> None:
    assert run(memory, "path").strip() == memory


def test_changes_are_logged_and_undone(memory: str) -> None:
    entry = json.loads(run(memory, "merge", "Bo", "Ana", "--json"))["log"]
    assert [one["utterances"] for one in json.loads(run(memory, "list", "--json"))] == [5]
    run(memory, "undo", str(entry))
    run(memory, "rename", "Ana", "Anna")
    run(memory, "alias", "Anna", "Annie")
    fresh = json.loads(
        run(
            memory, "split", "Bo", "--conversation", "c0", "--utterance", "c1:c1-1", "--name", "Bob", "--json"
        )
    )["speaker_id"]
    with Registry.open(memory) as registry:
        assert registry.find("annie").name == "Anna"
        assert registry.find("Bob").speaker_id == fresh
        assert registry.context(fresh, before=END).utterances == 2
    assert [one["action"] for one in json.loads(run(memory, "log", "--json"))] == [
        "merge",
        "undo",
        "rename",
        "alias",
        "split",
    ]


def test_split_needs_a_pair(memory: str) -> None:
    run(memory, "split", "Bo", "--utterance", "c1", code=2)


def test_export_forget_import(memory: str, tmp_path: Path) -> None:
    kept = tmp_path / "bo.jsonl"
    run(memory, "export", "Bo", "--output", str(kept))
    assert run(memory, "export", "Bo") == kept.read_text(encoding="utf-8")
    run(memory, "forget", "Bo", code=1, feed="n\n")
    assert json.loads(run(memory, "forget", "Bo", "--yes", "--json"))["observations"] == 3
    assert json.loads(run(memory, "import", str(kept), "--json"))["erased"] == 3
    elsewhere = str(tmp_path / "new.db")
    assert json.loads(run(elsewhere, "import", str(kept), "--json"))["observations"] == 3


def test_rebuild_counts_vectors(memory: str) -> None:
    assert json.loads(run(memory, "rebuild", "--json")) == {"vectors": 1}


@pytest.mark.parametrize("name", ["s.db", "s.db-wal", "s.db-shm", "s.db-index-1", "link.db", "hard.db"])
def test_export_refuses_the_memorys_own_files(memory: str, tmp_path: Path, name: str) -> None:
    (tmp_path / "link.db").symlink_to(memory)
    os.link(memory, tmp_path / "hard.db")
    with pytest.raises(InputError, match="the speaker memory itself"):
        run(memory, "export", "-o", str(tmp_path / name))
    assert [one["name"] for one in json.loads(run(memory, "list", "--json"))] == ["Ana", "Bo"]


def test_export_makes_a_file_for_its_owner_alone(memory: str, tmp_path: Path) -> None:
    kept = tmp_path / "all.jsonl"
    run(memory, "export", "-o", str(kept))
    assert kept.stat().st_mode & 0o777 == 0o600


def test_export_that_fails_leaves_what_was_there(memory: str, tmp_path: Path) -> None:
    kept = tmp_path / "all.jsonl"
    kept.write_text("before", encoding="utf-8")
    with pytest.raises(UnknownSpeakerError):
        run(memory, "export", "Nobody", "-o", str(kept))
    assert kept.read_text(encoding="utf-8") == "before"
    assert [one.name for one in tmp_path.iterdir() if one.suffix == ".tmp"] == []


@pytest.mark.parametrize(
    ("place", "words"), [("nowhere/all.jsonl", "there is no folder"), (".", "this is a folder")]
)
def test_export_into_a_place_that_cannot_be_written_is_told(
    memory: str, tmp_path: Path, place: str, words: str
) -> None:
    with pytest.raises(InputError, match=words):
        run(memory, "export", "-o", str(tmp_path / place))


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("cake".encode("utf-16"), "x.jsonl:1: not UTF-8"),
        (b'{"kind": "memory", "version": 1}\n{"kind": "caf\xe9"}', "x.jsonl:2: not UTF-8"),
        (b"{", "x.jsonl:1: not a JSON"),
    ],
)
def test_import_that_fails_leaves_no_memory_behind(tmp_path: Path, content: bytes, words: str) -> None:
    held = tmp_path / "x.jsonl"
    held.write_bytes(content)
    with pytest.raises(InvalidRecordError, match=words):
        run(str(tmp_path / "new.db"), "import", str(held))
    assert list(tmp_path.iterdir()) == [held]


def test_import_that_fails_takes_nothing_from_a_memory_that_was_there(memory: str, tmp_path: Path) -> None:
    held = tmp_path / "x.jsonl"
    held.write_bytes(b"{")
    for tenant in ("default", "other"):
        with pytest.raises(InvalidRecordError):
            run(memory, "import", str(held), "--tenant", tenant)
    assert [one["name"] for one in json.loads(run(memory, "list", "--json"))] == ["Ana", "Bo"]
    with pytest.raises(UnknownTenantError):
        run(memory, "list", "--tenant", "other")


@pytest.mark.parametrize("met_at", ["before", "after", "closed before"])
def test_a_new_memory_that_another_uses_is_not_taken_back(tmp_path: Path, met_at: str) -> None:
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
    held.write_bytes(b"\xef\xbb\xbf" + run(memory, "export").encode())
    assert json.loads(run(str(tmp_path / "new.db"), "import", str(held), "--json"))["speakers"] == 2


def test_import_says_that_the_log_stays_behind(memory: str, tmp_path: Path) -> None:
    run(memory, "rename", "Ana", "Anna")
    held = tmp_path / "x.jsonl"
    run(memory, "export", "-o", str(held))
    done = CliRunner().invoke(app, ["import", str(held), "--memory", str(tmp_path / "new.db")])
    assert "note: 1 changes in the export's log are not taken in" in done.stderr
    assert "Anna" in run(str(tmp_path / "new.db"), "list")


def test_log_says_when_what_and_who(memory: str) -> None:
    run(memory, "rename", "Ana", "Anna")
    run(memory, "alias", "Anna", "Annie")
    run(memory, "split", "Bo", "--conversation", "c0", "--name", "Bob")
    run(memory, "merge", "Bob", "Anna")
    run(memory, "undo", "4")
    lines = [re.sub(r" spk_\w+", "", line) for line in run(memory, "log").splitlines()]
    assert all(re.match(r"\d \d{4}-\d\d-\d\d \d\d:\d\d:\d\d ", line) for line in lines)
    assert [line.split(" ", 3)[3] for line in lines] == [
        "rename Anna, Ana before, Anna since",
        "alias Annie of Anna",
        "split Bob off Bo",
        "merge Bob into Anna (undone by 5)",
        "undo 4: Bob and Anna",
    ]
    run(memory, "forget", "Anna", "--yes")
    assert re.search("Ana|Anna|Annie", run(memory, "log")) is None
    assert "log 3: " not in run(memory, "show", "Bo")
    assert "split Bob" in run(memory, "show", "Bo")


def test_no_value_of_a_transcript_reaches_the_terminal_raw(tmp_path: Path) -> None:
    path, hostile = str(tmp_path / "s.db"), "c\x1b]0;owned\x07\x9b2J\u202e"
    with Registry.open(path, tenant=hostile) as registry:
        user = registry.resolve("user", conversation_id=hostile).speaker
        assert user is not None
        registry.record(hostile, [make(user.speaker_id, hostile, 0, text=hostile, weights={hostile: 1.0})])
        registry.write_bio(user.speaker_id, before=END)
        registry.alias(user.speaker_id, "friend")
    told = [
        run(path, *words, "--tenant", hostile)
        for words in (["list"], ["show", user.speaker_id], ["log"], ["path"])
    ]
    assert "c<U+001B>]0;owned<U+0007><U+009B>2J<U+202E>" in told[0]
    assert not any(set("\x1b\x07\x9b\u202e") & set(text) for text in told)
