"""`erc.load(memory=...)`: recording, the past of a live conversation, and closing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import erc
from erc.errors import ConfigError, InputError
from speakers import Options, Registry
from speakers.errors import SpeakersError

OPTIONS: dict[str, Any] = {"samples": 2, "precision": "fp32"}
MONDAY = [("Ana", "I am so happy to see you again!"), ("Ben", "No."), ("Ana", "Okay.")]
TUESDAY = [("Ana", "Why did nobody tell me?"), ("Ben", "It hurts."), ("Cleo", "No.")]


def load(memory: str | None = "speakers.db", **options: Any) -> erc.LoadedPredictor:
    return erc.load("tiny-hierarchical", memory=memory, **OPTIONS, **options)


def remembered(tenant: str = "default") -> list[str]:
    """The names in the memory."""
    with Registry.open("speakers.db", tenant=tenant, options=Options(create=False)) as registry:
        return sorted(str(speaker.name) for speaker in registry.speakers())


def test_later_conversation_reads_what_an_earlier_one_recorded() -> None:
    with load() as predictor:
        first = predictor.label(MONDAY, conversation_id="monday")
        second = predictor.label(TUESDAY, conversation_id="tuesday")
    assert [turn.past_utterances for turn in first] == [0, 0, 1]
    assert [turn.past_utterances for turn in second] == [2, 1, 0]
    assert first[0].speaker_id == second[0].speaker_id
    assert remembered() == ["Ana", "Ben", "Cleo"]


def test_predictor_without_memory_remembers_nothing() -> None:
    with load(None) as predictor:
        predictor.label(MONDAY)
        assert {turn.past_conversations for turn in predictor.label(TUESDAY[:1])} == {0}
        assert predictor.memory is None


def test_tenants_of_one_memory_are_separate() -> None:
    with load(tenant="a") as predictor:
        predictor.label(MONDAY)
    with load(tenant="b") as predictor:
        assert predictor.label(TUESDAY[:1])[0].past_utterances == 0
    assert (remembered("a"), remembered("b")) == (["Ana", "Ben"], ["Ana"])


def test_names_map_written_names_to_one_person() -> None:
    Path("names.yaml").write_text("Ana: [A. Smith]\n", encoding="utf-8")
    with load(names="names.yaml") as predictor:
        predictor.label(MONDAY)
        [turn] = predictor.label([("A. Smith", "No.")], conversation_id="tuesday")
        assert turn.past_utterances == 2


def test_warnings_of_the_memory_are_notes_of_the_result() -> None:
    with load() as predictor:
        predictor.label(MONDAY, conversation_id="standup")
        result = predictor.label(TUESDAY, conversation_id="standup")
    assert any("another conversation 'standup'" in note for note in result.notes)
    assert result[0].conversation_id.startswith("standup~")


def test_leaving_the_block_closes_memory_and_model(monkeypatch: pytest.MonkeyPatch) -> None:
    closed: list[str] = []
    for place, what in (
        ("speakers.registry.Registry", "memory"),
        ("erc.inference.predictor.Predictor", "model"),
    ):
        monkeypatch.setattr(f"{place}.close", lambda self, what=what: closed.append(what))
    with load() as predictor:
        predictor.label(MONDAY)
        assert closed == []
    assert closed == ["memory", "model"]
    assert predictor.memory is None
    with pytest.raises(ConfigError, match="closed"):
        predictor.label(TUESDAY)
    predictor.close()
    assert closed == ["memory", "model"]


def test_memory_that_cannot_be_opened_closes_the_model(monkeypatch: pytest.MonkeyPatch) -> None:
    closed: list[str] = []
    monkeypatch.setattr("erc.inference.predictor.Predictor.close", lambda self: closed.append("model"))
    Path("speakers.db").write_text("not a memory", encoding="utf-8")
    with pytest.raises(SpeakersError):
        load()
    assert closed == ["model"]


@pytest.mark.parametrize("memory", [None, "speakers.db"])
def test_live_conversation_equals_labelling_the_whole_conversation(memory: str | None) -> None:
    with load(memory) as predictor:
        predictor.label(MONDAY, conversation_id="monday")
        live = erc.LiveConversation(predictor, conversation_id="tuesday")
        turns = [live.append(speaker, text) for speaker, text in TUESDAY]
        whole = predictor.label(TUESDAY, conversation_id="tuesday")
    assert len(live) == 3
    assert [turn.emotion for turn in turns] == [turn.emotion for turn in whole]
    assert [turn.past_utterances for turn in turns] == [turn.past_utterances for turn in whole]
    for mine, theirs in zip(turns, whole, strict=True):
        assert mine.probabilities == pytest.approx(theirs.probabilities, abs=1e-5)


def test_saved_live_conversation_continues_with_its_memory() -> None:
    with load() as predictor:
        predictor.label(MONDAY, conversation_id="monday")
        live = erc.LiveConversation(predictor, conversation_id="tuesday")
        live.append(*TUESDAY[0])
        live.save("live.safetensors")
        again = erc.LiveConversation.load("live.safetensors", predictor)
        assert (len(again), again.conversation_id) == (1, "tuesday")
        mine, theirs = again.append(*TUESDAY[1]), live.append(*TUESDAY[1])
        assert mine.probabilities == pytest.approx(theirs.probabilities, abs=1e-6)
        assert mine.past_utterances == 1
    with pytest.raises(ConfigError, match="memory"):
        erc.LiveConversation.load("live.safetensors", load(None))


def test_file_without_a_live_conversation_raises_an_input_error() -> None:
    with load() as predictor, pytest.raises(InputError, match="live conversation"):
        erc.LiveConversation.load("chat.txt", predictor)


def test_live_conversation_reads_only_turns_recorded_before_it_begins() -> None:
    frame = [{"speaker": "Ana", "text": "Okay.", "timestamp": "2024-05-02T10:00:00Z"}]
    with load() as predictor:
        predictor.label(frame, conversation_id="thursday")
        before = erc.LiveConversation(predictor, conversation_id="b", begins="2024-05-01T10:00:00Z")
        after = erc.LiveConversation(predictor, conversation_id="c", begins="2024-05-03T10:00:00Z")
        assert before.append("Ana", "No.").past_utterances == 0
        assert after.append("Ana", "No.").past_utterances == 1
