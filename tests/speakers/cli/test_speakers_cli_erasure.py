"""`erc speakers readmit`, `delete`, `expire` and `policy`."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from speakers_support import Clock, make, meet, run_command

from erc.errors import InputError
from speakers import END, Options, Policy, Registry
from speakers.errors import InvalidPolicyError, PolicyMismatchError, StoreMissingError


@pytest.fixture
def old_memory(tmp_path: Path) -> str:
    """A memory that keeps 30 days: one conversation of the year 2023 and one of today."""
    path, clock = tmp_path / "old.db", Clock()
    options = Options(policy=Policy(retention_days=30))
    with Registry.open(path, clock=clock, options=options) as registry:
        registry.record("old", [make(meet(registry, "Ana"), "old", index) for index in range(3)])
    with Registry.open(path, options=Options(expire=False)) as registry:
        registry.set_retention(None)
    with Registry.open(path) as registry:
        registry.record("new", [make(meet(registry, "Bo"), "new", 0)])
        registry.set_retention(30)
    return str(path)


def test_readmit_allows_a_forgotten_name_again(memory: str) -> None:
    run_command(memory, "forget", "Ana", "--yes")
    assert json.loads(run_command(memory, "readmit", "Ana", "--json")) == {"readmitted": True}
    assert "was not forgotten" in run_command(memory, "readmit", "Ana")
    with Registry.open(memory) as registry:
        assert registry.resolve("Ana", conversation_id="c").created


def test_delete_removes_a_conversation_after_confirmation(memory: str) -> None:
    run_command(memory, "delete", "c0", code=1, feed="n\n")
    assert json.loads(run_command(memory, "delete", "c0", "--yes", "--json"))["observations"] == 2
    with Registry.open(memory) as registry:
        assert registry.texts("c0") == {}
        assert registry.context(registry.find("Ana").speaker_id, before=END).utterances == 1


def test_delete_rejects_an_unknown_conversation(memory: str) -> None:
    with pytest.raises(InputError, match="no conversation 'c7'"):
        run_command(memory, "delete", "c7", "--yes")


def test_expire_erases_and_counts_old_data(old_memory: str) -> None:
    done = json.loads(run_command(old_memory, "expire", "--json"))
    assert (done["speakers"], done["observations"]) == (1, 3)
    assert [one["name"] for one in json.loads(run_command(old_memory, "list", "--json"))] == ["Bo"]
    assert "erased 0 speaker(s), 0 observations" in run_command(old_memory, "expire")


def test_expire_without_a_policy_erases_nothing(memory: str) -> None:
    assert json.loads(run_command(memory, "expire", "--json"))["observations"] == 0


def test_policy_shows_the_stored_policy(memory: str) -> None:
    found = json.loads(run_command(memory, "policy", "--json"))
    assert found == {"tenant": "default", "text": True, "pseudonymous": False, "retention_days": None}
    assert "conversations: kept indefinitely" in run_command(memory, "policy")


def test_policy_changes_the_retention_and_applies_it(memory: str) -> None:
    run_command(memory, "policy", "--retention-days", "30", code=1, feed="n\n")
    assert json.loads(run_command(memory, "policy", "--json"))["retention_days"] is None
    assert "kept for 30 days" in run_command(memory, "policy", "--retention-days", "30", "--yes")
    assert json.loads(run_command(memory, "policy", "--json"))["retention_days"] == 30
    assert "kept indefinitely" in run_command(memory, "policy", "--no-retention")
    assert json.loads(run_command(memory, "policy", "--json"))["retention_days"] is None


def test_policy_creates_a_memory_only_when_asked(tmp_path: Path) -> None:
    path = str(tmp_path / "new.db")
    words = ("policy", "--no-text", "--pseudonymous", "--retention-days", "7")
    with pytest.raises(StoreMissingError):
        run_command(path, *words)
    found = json.loads(run_command(path, *words, "--create", "--json"))
    assert found == {"tenant": "default", "text": False, "pseudonymous": True, "retention_days": 7}


def test_policy_rejects_a_change_of_stored_words(memory: str) -> None:
    with pytest.raises(PolicyMismatchError, match="keeps_text"):
        run_command(memory, "policy", "--no-text")


@pytest.mark.parametrize("days", ["0", "nan"])
def test_policy_rejects_a_retention_below_a_day_and_creates_nothing(tmp_path: Path, days: str) -> None:
    with pytest.raises(InvalidPolicyError):
        run_command(str(tmp_path / "new.db"), "policy", "--create", "--retention-days", days)
    assert list(tmp_path.iterdir()) == []
