"""`erc speakers merge`, `split`, `rename`, `alias`, `undo` and `correct`."""

from __future__ import annotations

import json

import pytest
from speakers_support import run_command

from speakers import END, Registry
from speakers.errors import InvalidRecordError


def test_changes_are_logged_and_undone(memory: str) -> None:
    entry = json.loads(run_command(memory, "merge", "Bo", "Ana", "--json"))["log"]
    assert [one["utterances"] for one in json.loads(run_command(memory, "list", "--json"))] == [5]
    run_command(memory, "undo", str(entry))
    run_command(memory, "rename", "Ana", "Anna")
    run_command(memory, "alias", "Anna", "Annie")
    fresh = json.loads(
        run_command(
            memory, "split", "Bo", "--conversation", "c0", "--utterance", "c1:c1-1", "--name", "Bob", "--json"
        )
    )["speaker_id"]
    with Registry.open(memory) as registry:
        assert registry.find("annie").name == "Anna"
        assert registry.find("Bob").speaker_id == fresh
        assert registry.context(fresh, before=END).utterances == 2
    assert [one["action"] for one in json.loads(run_command(memory, "log", "--json"))] == [
        "merge",
        "undo",
        "rename",
        "alias",
        "split",
    ]


def test_split_rejects_an_utterance_without_its_conversation(memory: str) -> None:
    run_command(memory, "split", "Bo", "--utterance", "c1", code=2)


def test_correct_stores_and_removes_a_correction(memory: str) -> None:
    done = json.loads(run_command(memory, "correct", "c0", "c0-0", "anger", "--json"))
    assert done == {"conversation_id": "c0", "utterance_id": "c0-0", "correction": "anger"}
    assert "c0 c0-0 anger: [red] Ana" in run_command(memory, "show", "Ana")
    run_command(memory, "correct", "c0", "c0-0", "--remove")
    assert "c0 c0-0 joy: [red] Ana" in run_command(memory, "show", "Ana")


def test_correct_needs_either_an_emotion_or_remove(memory: str) -> None:
    run_command(memory, "correct", "c0", "c0-0", code=2)
    run_command(memory, "correct", "c0", "c0-0", "joy", "--remove", code=2)


@pytest.mark.parametrize(
    ("words", "message"),
    [(("c0", "nowhere", "joy"), "no utterance 'nowhere'"), (("c0", "c0-0", " "), "needs an emotion")],
)
def test_correct_rejects_unknown_turns_and_empty_emotions(
    memory: str, words: tuple[str, ...], message: str
) -> None:
    with pytest.raises(InvalidRecordError, match=message):
        run_command(memory, "correct", *words)
