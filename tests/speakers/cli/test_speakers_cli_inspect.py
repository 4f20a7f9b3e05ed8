"""`erc speakers list`, `show`, `log`, `tenants` and `path`."""

from __future__ import annotations

import json
import re
from pathlib import Path

from speakers_support import make, run_command

from speakers import END, Registry


def test_list_counts_turns_and_conversations(memory: str) -> None:
    people = json.loads(run_command(memory, "list", "--json"))
    assert [(one["name"], one["utterances"], one["conversations"]) for one in people] == [
        ("Ana", 2, 2),
        ("Bo", 3, 3),
    ]
    assert "Ana" in run_command(memory, "list")


def test_show_prints_square_brackets_unchanged(memory: str) -> None:
    assert "joy: [red] Ana" in run_command(memory, "show", "ana")
    shown = json.loads(run_command(memory, "show", "Ana", "--json"))
    assert shown["context"]["observations"][0]["text"] == "[red] Ana"


def test_path_prints_the_file(memory: str) -> None:
    assert run_command(memory, "path").strip() == memory


def test_log_shows_time_change_and_names(memory: str) -> None:
    run_command(memory, "rename", "Ana", "Anna")
    run_command(memory, "alias", "Anna", "Annie")
    run_command(memory, "split", "Bo", "--conversation", "c0", "--name", "Bob")
    run_command(memory, "merge", "Bob", "Anna")
    run_command(memory, "undo", "4")
    lines = [re.sub(r" spk_\w+", "", line) for line in run_command(memory, "log").splitlines()]
    assert all(re.match(r"\d \d{4}-\d\d-\d\d \d\d:\d\d:\d\d ", line) for line in lines)
    assert [line.split(" ", 3)[3] for line in lines] == [
        "rename Anna, Ana before, Anna since",
        "alias Annie of Anna",
        "split Bob off Bo",
        "merge Bob into Anna (undone by 5)",
        "undo 4: Bob and Anna",
    ]
    run_command(memory, "forget", "Anna", "--yes")
    assert re.search("Ana|Anna|Annie", run_command(memory, "log")) is None
    assert "log 3: " not in run_command(memory, "show", "Bo")
    assert "split Bob" in run_command(memory, "show", "Bo")


def test_control_characters_of_a_transcript_never_reach_the_terminal(tmp_path: Path) -> None:
    path, hostile = str(tmp_path / "s.db"), "c\x1b]0;owned\x07\x9b2J\u202e"
    with Registry.open(path, tenant=hostile) as registry:
        user = registry.resolve("user", conversation_id=hostile).speaker
        assert user is not None
        registry.record(hostile, [make(user.speaker_id, hostile, 0, text=hostile, weights={hostile: 1.0})])
        registry.write_bio(user.speaker_id, before=END)
        registry.alias(user.speaker_id, "friend")
    printed = [
        run_command(path, *words, "--tenant", hostile)
        for words in (["list"], ["show", user.speaker_id], ["log"], ["path"])
    ]
    assert "c<U+001B>]0;owned<U+0007><U+009B>2J<U+202E>" in printed[0]
    assert not any(set("\x1b\x07\x9b\u202e") & set(text) for text in printed)


def test_tenants_lists_all_tenants_of_a_store(memory: str) -> None:
    Registry.open(memory, tenant="other\x1b").close()
    assert run_command(memory, "tenants").split() == ["default", "other<U+001B>"]
    assert json.loads(run_command(memory, "tenants", "--json")) == ["default", "other\x1b"]
