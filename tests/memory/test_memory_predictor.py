"""Labelling with a speaker memory: reading the past and recording turns."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tiny_emonet import ANA, BEN, talk

from erc.data import Conversation
from erc.errors import ConfigError, ConvemoError, InputError
from erc.inference.live.conversation import LiveConversation
from erc.inference.loading import load_predictor
from erc.inference.prediction import Prediction
from erc.inference.predictor import Predictor
from erc.inference.scorers.emonet import EmoNetScorer
from erc.inference.scorers.settings import InferenceSettings
from erc.memory.predictor import RememberingPredictor, seconds
from speakers import END, NameMap, Registry

FP32 = InferenceSettings(precision="fp32", uncertainty="head", samples=2)


@pytest.fixture(scope="module")
def predictor(tiny_shelf: Path) -> Iterator[Predictor]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CONVEMO_MODELS", str(tiny_shelf))
        yield load_predictor("tiny-hierarchical", settings=FP32)


@pytest.fixture
def registry(tmp_path: Path) -> Iterator[Registry]:
    with Registry.open(str(tmp_path / "speakers.db")) as opened:
        yield opened


def numbers(predictions: Any) -> np.ndarray:
    return np.array(
        [
            [*(p.probabilities[k] for k in sorted(p.probabilities)), p.total, p.epistemic or 0]
            for p in predictions
        ]
    )


def counts(predictions: Any) -> list[tuple[int, int]]:
    return [(p.past_utterances, p.past_conversations) for p in predictions]


def held_by(registry: Registry) -> list[str]:
    """Everything the memory would export."""
    return list(registry.export())


def test_remembering_from_the_store_predicts_as_from_the_corpus_history(
    predictor: Predictor, registry: Registry
) -> None:
    talks = [talk("a"), talk("b", BEN), talk("c", ANA[::-1])]
    stored = list(RememberingPredictor(predictor, registry).stream(talks))
    assert isinstance(predictor.scorer, EmoNetScorer)
    corpus = [replace(one, corpus="meld") for one in talks]
    turns = [(one.conversation_id, utterance) for one in corpus for utterance in one]
    in_memory = predictor.predictions(turns, predictor.scorer.score_corpus(corpus))
    found = [prediction for one in stored for prediction in one.predictions]
    np.testing.assert_allclose(numbers(found), numbers(in_memory), atol=1e-5)
    assert counts(found) == counts(in_memory)
    fresh = predictor.label([talks[2]])[0]
    assert (
        np.abs(numbers(stored[2].predictions) - numbers(fresh.predictions))[0].max() > 1e-4
    )  # the past matters


def test_remembering_the_same_file_again_changes_nothing(predictor: Predictor, registry: Registry) -> None:
    remembering = RememberingPredictor(predictor, registry)
    remembering.label(talk("a"))
    first = remembering.label(talk("b", BEN))
    held = held_by(registry)
    again = remembering.label(talk("b", BEN))
    assert numbers(again.predictions).tolist() == numbers(first.predictions).tolist()
    assert again.predictions == first.predictions
    assert held_by(registry) == held


def test_remembering_works_after_reopening_the_memory(predictor: Predictor, tmp_path: Path) -> None:
    address = str(tmp_path / "speakers.db")
    with Registry.open(address) as registry:
        RememberingPredictor(predictor, registry).label(talk("a"))
    with Registry.open(address) as registry:
        later = RememberingPredictor(predictor, registry).label(talk("b", BEN))
    assert counts(later.predictions) == [(3, 1), (3, 1), (4, 2), (4, 2), (1, 1)]


def test_remembering_names_the_person_in_each_record(predictor: Predictor, registry: Registry) -> None:
    predictions = RememberingPredictor(predictor, registry).label(talk("a")).predictions
    ids = {p.utterance.speaker: p.to_record()["speaker_id"] for p in predictions}
    assert ids == {speaker.name: str(speaker.speaker_id) for speaker in registry.speakers()}
    assert set(ids) == {"Ana", "Ben", "Cleo"}


def test_remembering_stores_the_classifiers_weights_and_the_models_label(
    predictor: Predictor, registry: Registry
) -> None:
    labelled = RememberingPredictor(predictor, registry).label(talk("a"))
    ben = next(speaker for speaker in registry.speakers() if speaker.name == "Ben")
    kept = registry.context(ben.speaker_id, before=END, limit=9).observations
    said: list[Prediction] = [p for p in labelled.predictions if p.utterance.speaker == "Ben"]
    assert [one.text for one in kept] == [p.utterance.text for p in said]
    for one, prediction in zip(kept, said, strict=True):
        assert one.label is not None
        assert (one.label.emotion, one.label.confidence) == (
            prediction.emotion,
            pytest.approx(prediction.confidence),
        )
        assert one.model == "tiny-hierarchical@1"
        assert {f.emotion: one.weights[f.emotion] for f in prediction.fine} == pytest.approx(
            {f.emotion: f.probability for f in prediction.fine}
        )


def test_remembering_neither_reads_nor_records_a_forgotten_person(
    predictor: Predictor, registry: Registry
) -> None:
    remembering = RememberingPredictor(predictor, registry)
    remembering.label(talk("a"))
    registry.forget("Ana")
    later = remembering.label(talk("b", BEN)).predictions
    assert [p.speaker_id is None for p in later] == [False, True, False, True, False]
    assert counts(later) == [
        (3, 1),
        (0, 0),
        (4, 2),
        (1, 1),
        (1, 1),
    ]  # Ana's turns in this conversation still count
    assert "Ana" not in {speaker.name for speaker in registry.speakers()}
    assert not any("Okay." in line for line in held_by(registry) if '"text"' in line)


def test_remembering_resolves_an_alias_of_the_name_map_to_one_person(
    predictor: Predictor, registry: Registry
) -> None:
    remembering = RememberingPredictor(predictor, registry, names=NameMap.of({"Ana": ["Ana Lima"]}))
    remembering.label(talk("a"))
    later = remembering.label(talk("b", [("Ana Lima", "No."), ("Ana", "Okay.")])).predictions
    assert later[0].speaker_id == later[1].speaker_id is not None
    assert later[0].past_utterances == 3


def test_remembering_does_not_link_generic_names_across_conversations(
    predictor: Predictor, registry: Registry
) -> None:
    remembering = RememberingPredictor(predictor, registry)
    turns = [("Speaker 1", "I am so happy!"), ("Speaker 1", "Okay.")]
    remembering.label(talk("a", turns))
    assert counts(remembering.label(talk("b", turns)).predictions) == [(0, 0), (1, 1)]


def test_remembering_warns_about_look_alike_names(predictor: Predictor, registry: Registry) -> None:
    told: list[str] = []
    remembering = RememberingPredictor(predictor, registry, warn=told.append)
    remembering.label(talk("a", [("Anna", "No.")]))
    remembering.label(talk("b", [("\u0410nna", "No.")]))
    assert len(told) == 1
    assert told[0].startswith("b: ")


def test_remembering_warns_once_about_a_name_read_as_several_people(
    predictor: Predictor, registry: Registry
) -> None:
    told: list[str] = []
    remembering = RememberingPredictor(
        predictor, registry, names=NameMap.of({"Bo & Co": ["Bo and Co"]}), warn=told.append
    )
    turns = [
        ("Ana & Ben", "No."),
        ("ACME/ana", "No."),
        ("ACME/bob", "No."),
        ("Ana Silva (she/her)", "No."),
        ("Ana Silva", "No."),
        ("Bo and Co", "No."),
    ]
    for name in "ab":
        ids = [p.speaker_id for p in remembering.label(talk(name, turns)).predictions]
    assert told == [
        "a: 'Ana & Ben' is read as several people, and their turns as Ana's; if it is one name, map it to "
        "itself with --names"
    ]
    assert (len(set(ids)), ids[3] == ids[4]) == (5, True)


def test_remembering_rejects_a_memory_of_another_embedder(
    predictor: Predictor, registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    RememberingPredictor(predictor, registry).label(talk("a"))
    assert isinstance(predictor.scorer, EmoNetScorer)
    monkeypatch.setattr(
        predictor.scorer.utterance, "artefact", replace(predictor.scorer.utterance.artefact, sha256="f" * 64)
    )
    with pytest.raises(ConvemoError, match=r"holds vectors of tiny-utterance \(revision .*ffffffffffffffff"):
        RememberingPredictor(predictor, registry)


def test_remembering_with_an_utterance_model_records_no_conversation_label(
    tiny_utterance_artefact: Path, registry: Registry
) -> None:
    alone = load_predictor(str(tiny_utterance_artefact), settings=FP32)
    labelled = RememberingPredictor(alone, registry).label(talk("a"))
    assert numbers(labelled.predictions).tolist() == numbers(alone.label([talk("a")])[0].predictions).tolist()
    ana = next(speaker for speaker in registry.speakers() if speaker.name == "Ana")
    assert [one.label for one in registry.context(ana.speaker_id, before=END).observations] == [None] * 3


def test_remembering_passes_on_warnings_of_a_recording(
    predictor: Predictor, registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[str] = []
    kept = Registry.record
    monkeypatch.setattr(
        Registry,
        "record",
        lambda *given, **named: replace(kept(*given, **named), warnings=("an erasure is due",)),
    )
    assert len(
        RememberingPredictor(predictor, registry, warn=told.append).label(talk("a")).predictions
    ) == len(talk("a"))
    assert told == ["an erasure is due"]


def test_remembering_records_nothing_for_a_conversation_without_turns(
    predictor: Predictor, registry: Registry
) -> None:
    assert RememberingPredictor(predictor, registry).label(Conversation("none", ())).predictions == ()
    assert registry.speakers() == ()


@pytest.mark.parametrize("known", [len(BEN), 1, 0])
def test_live_conversation_reads_the_memory_as_labelling_does(
    predictor: Predictor, registry: Registry, known: int
) -> None:
    """For any number of turns at its start; speakers who join later are looked up then."""
    remembering = RememberingPredictor(predictor, registry)
    remembering.label(talk("a"))
    live = LiveConversation(predictor, conversation_id="b", past=remembering.past(talk("b", BEN[:known])))
    turns = [live.append_utterance(utterance) for utterance in talk("b", BEN)]
    whole = remembering.label(talk("b", BEN)).predictions
    np.testing.assert_allclose(numbers(turns), numbers(whole), atol=1e-5)
    assert counts(turns) == counts(whole)


def test_live_conversation_looks_up_speakers_who_join_later(predictor: Predictor, registry: Registry) -> None:
    """Begins without turns; another conversation, recorded meanwhile, is not read."""
    remembering = RememberingPredictor(predictor, registry)
    remembering.label(talk("a"))
    live = LiveConversation(predictor, conversation_id="b", past=remembering.past(Conversation("b", ())))
    whole = remembering.predictor.label([talk("b", BEN)])[0].predictions
    turns = []
    for utterance in talk("b", BEN):
        turns.append(live.append_utterance(utterance))
        if utterance.index == 0:
            remembering.label(talk("meanwhile", BEN))
    assert counts(turns) == [
        (3, 1),
        (3, 1),
        (4, 2),
        (4, 2),
        (1, 1),
    ]  # turns in the first conversation: Ben 3, Ana 3, Cleo 1
    assert np.abs(numbers(turns) - numbers(whole)).max() > 1e-4
    known = LiveConversation(predictor, conversation_id="b", past=remembering.past(Conversation("b", ())))
    assert counts([known.append_utterance(utterance) for utterance in talk("b", BEN)])[0] == (5, 2)


def test_live_conversation_with_a_start_time_reads_only_earlier_turns(
    predictor: Predictor, registry: Registry, tmp_path: Path
) -> None:
    """A conversation recorded while this one is saved changes nothing in it."""
    remembering = RememberingPredictor(predictor, registry)
    days = {name: f"2024-05-0{day}T09:00:00Z" for day, name in enumerate("abc", start=1)}
    talks = {name: dated(talk(name, BEN), day) for name, day in days.items()}
    remembering.label(talks["a"])
    stored, path = (
        remembering.past(Conversation("b", ()), begins=days["b"]),
        tmp_path / "live.safetensors",
    )
    live = LiveConversation(predictor, conversation_id="b", past=stored)
    turns = [live.append_utterance(utterance) for utterance in talks["b"].utterances[:2]]
    live.save(path)
    remembering.label(talks["c"])
    live = LiveConversation.load(
        path, predictor, past=remembering.past(Conversation("b", ()), begins=days["b"])
    )
    turns += [live.append_utterance(utterance) for utterance in talks["b"].utterances[2:]]
    whole = remembering.label(talks["b"]).predictions
    np.testing.assert_allclose(numbers(turns), numbers(whole), atol=1e-5)
    assert counts(turns) == counts(whole) == [(2, 1), (2, 1), (3, 2), (3, 2), (1, 1)]


def test_live_conversation_rejects_an_invalid_begin(predictor: Predictor, registry: Registry) -> None:
    with pytest.raises(InputError, match="conversation b: begins='yesterday' is not an ISO 8601 time"):
        RememberingPredictor(predictor, registry).past(Conversation("b", ()), begins="yesterday")


@pytest.mark.parametrize("live", [False, True])
@pytest.mark.parametrize(
    ("one_name", "two_names", "expected"),
    [
        (("Ana", "Ana", "Ben", "Ana"), ("Ana", "Annie", "Ben", "Annie"), [(3, 1), (4, 2), (3, 1), (5, 2)]),
        (
            ("Ana", "Ana", "Ana", "Ana"),
            ("Ana", "Annie", "Ana & Ben", "Annie"),
            [(3, 1), (4, 2), (5, 2), (6, 2)],
        ),
    ],
)
def test_two_names_of_one_person_are_one_speaker(
    predictor: Predictor,
    registry: Registry,
    one_name: tuple[str, ...],
    two_names: tuple[str, ...],
    expected: list[tuple[int, int]],
    live: bool,
) -> None:
    remembering = RememberingPredictor(predictor, registry)
    remembering.label(talk("a"))
    registry.alias("Ana", "Annie")
    found = []
    for names in (one_name, two_names):
        one = talk("b", tuple(zip(names, ("No.", "It hurts.", "Okay.", "Thank you!"), strict=True)))
        if live:
            going_on = LiveConversation(
                predictor, conversation_id="b", past=remembering.past(Conversation("b", ()))
            )
            found.append([going_on.append_utterance(utterance) for utterance in one])
        else:
            stored = remembering.past(one)
            scores = predictor.scorer.score([one], past=stored)  # type: ignore[attr-defined]
            found.append(predictor.predictions([("b", utterance) for utterance in one], scores))
    np.testing.assert_array_equal(numbers(found[0]), numbers(found[1]))
    assert counts(found[0]) == counts(found[1]) == expected


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        (None, None),
        ("1970-01-01T00:01:00Z", 60.0),
        ("1970-01-01T00:01:00", 60.0),
        ("1970-01-01T01:00:00+01:00", 0.0),
        ("yesterday", None),
    ],
)
def test_seconds_of_a_timestamp(written: str | None, expected: float | None) -> None:
    assert seconds(written) == expected


def test_another_conversation_of_the_same_name_gets_its_own_id_and_a_warning(
    predictor: Predictor, registry: Registry
) -> None:
    told: list[str] = []
    remembering = RememberingPredictor(predictor, registry, warn=told.append)
    remembering.label(talk("monday"))
    other = remembering.label(talk("monday", BEN))
    own = other.predictions[0].conversation_id
    assert own.startswith("monday~")
    assert any("monday" in message for message in told)
    assert len(registry.texts("monday")) == len(ANA)
    assert len(registry.texts(own)) == len(BEN)
    assert any(conversations == 1 for _, conversations in counts(other.predictions))
    told.clear()
    assert remembering.label(talk("monday", BEN)).predictions == other.predictions
    assert len(registry.texts(own)) == len(BEN)


def test_unnamed_speakers_in_two_files_of_one_name_are_two_people(
    predictor: Predictor, registry: Registry
) -> None:
    def call(text: str) -> Conversation:
        turn = replace(talk("call").utterances[0], speaker="SPEAKER_00", speakers=("SPEAKER_00",), text=text)
        return Conversation(conversation_id="call", utterances=(turn,))

    remembering = RememberingPredictor(predictor, registry)
    first, second = (
        remembering.label(call(text)).predictions[0].speaker_id for text in ("hello there", "good day")
    )
    assert first != second


def dated(one: Conversation, *stamps: str | None) -> Conversation:
    """The conversation with these timestamps; the last is repeated."""
    given = [*stamps, *[stamps[-1]] * (len(one) - len(stamps))]
    return replace(
        one, utterances=tuple(replace(turn, timestamp=stamp) for turn, stamp in zip(one, given, strict=True))
    )


def test_timestamp_of_a_later_turn_does_not_change_earlier_turns(
    predictor: Predictor, tmp_path: Path
) -> None:
    found, told = [], list[str]()
    for number, later in enumerate((None, "2020-01-01T00:00:00Z")):
        with Registry.open(tmp_path / f"{number}.db") as registry:
            remembering = RememberingPredictor(predictor, registry, warn=told.append)
            remembering.label(talk("before"))
            new = dated(talk("new", BEN), None, None, later)
            found.append(remembering.label(new).predictions)
            again = remembering.label(new).predictions
            assert (numbers(again).tolist(), counts(again)) == (
                numbers(found[-1]).tolist(),
                counts(found[-1]),
            )
    assert counts(found[0]) == counts(found[1]) == [(3, 1), (3, 1), (4, 2), (4, 2), (1, 1)]
    np.testing.assert_array_equal(numbers(found[0]), numbers(found[1]))
    assert (
        told
        == [
            "new: its first turn has no timestamp, so it counts as begun now; timestamps of later turns are "
            "ignored"
        ]
        * 2
    )


def test_conversations_are_labelled_in_start_time_order_and_returned_in_input_order(
    predictor: Predictor, registry: Registry
) -> None:
    late, early = (
        dated(talk("late", BEN), "2024-05-03T10:00:00Z"),
        dated(talk("early"), "2024-05-01T10:00:00Z"),
    )
    remembering = RememberingPredictor(predictor, registry)
    found = list(remembering.stream([late, Conversation("empty", ()), early]))
    assert [one.conversation.conversation_id for one in found] == ["late", "empty", "early"]
    assert counts(found[0].predictions) == [(3, 1), (3, 1), (4, 2), (4, 2), (1, 1)]
    assert counts(found[2].predictions)[0] == (0, 0)


@pytest.mark.parametrize(
    ("hold", "known", "warned"), [(0, 0, True), (len(BEN), 0, True), (len(BEN) + 1, 3, False)]
)
def test_stream_is_labelled_in_start_time_order_within_hold(
    predictor: Predictor, registry: Registry, hold: int, known: int, warned: bool
) -> None:
    told: list[str] = []
    late, early = (
        dated(talk("late", BEN), "2024-05-03T10:00:00Z"),
        dated(talk("early"), "2024-05-01T10:00:00Z"),
    )
    found = list(
        RememberingPredictor(predictor, registry, warn=told.append, hold=hold).stream(iter([late, early]))
    )
    assert [one.conversation.conversation_id for one in found] == ["late", "early"]
    assert counts(found[0].predictions)[0][0] == known
    assert [message.startswith("early: begins before") for message in told] == [True] * warned


def test_stream_without_hold_is_labelled_without_delay(predictor: Predictor, registry: Registry) -> None:
    def endless() -> Iterator[Conversation]:
        yield dated(talk("first"), "2024-05-03T10:00:00Z")
        raise AssertionError("read ahead")

    assert (
        next(RememberingPredictor(predictor, registry).stream(endless())).conversation.conversation_id
        == "first"
    )


def test_conversations_keep_their_order_with_a_warning_if_one_has_no_time(
    predictor: Predictor, registry: Registry
) -> None:
    told: list[str] = []
    late, early = (
        dated(talk("late", BEN), "2024-05-03T10:00:00Z"),
        dated(talk("early"), "2024-05-01T10:00:00Z"),
    )
    found = list(
        RememberingPredictor(predictor, registry, warn=told.append).stream([late, talk("undated"), early])
    )
    assert counts(found[0].predictions)[0] == (0, 0)
    assert [message.partition(":")[0] for message in told] == ["early"]


def test_live_conversation_resumed_after_a_merge_keeps_its_past(
    predictor: Predictor, registry: Registry, tmp_path: Path
) -> None:
    remembering, path = RememberingPredictor(predictor, registry), tmp_path / "live.safetensors"
    remembering.label(talk("a", [("Ana", "No."), ("Anna", "Okay."), ("Ben", "No.")]))
    empty = Conversation("b", ())
    live = LiveConversation(predictor, conversation_id="b", past=remembering.past(empty))
    for name in ("Ana", "Ben", "Ana", "Anna"):
        live.append(name, "It hurts.")
    live.save(path)
    registry.merge("Ana", "Anna")
    live = LiveConversation.load(path, predictor, past=remembering.past(empty))
    assert counts(
        [live.append("Ana", "Okay."), live.append("Ben", "Okay."), live.append("Anna", "Okay.")]
    ) == [(5, 2), (2, 2), (6, 2)]
    live.append("Cleo", "Okay.")
    live.save(path)
    again = LiveConversation.load(path, predictor, past=remembering.past(empty))
    assert numbers([again.append("Cleo", "No.")]).tolist() == numbers([live.append("Cleo", "No.")]).tolist()


def test_live_state_saved_with_a_memory_needs_one_to_resume(
    predictor: Predictor, registry: Registry, tmp_path: Path
) -> None:
    remembering = RememberingPredictor(predictor, registry)
    remembering.label(talk("a"))
    past = remembering.past(talk("b", BEN))
    live = LiveConversation(predictor, conversation_id="b", past=past)
    for utterance in talk("b", BEN).utterances[:2]:
        live.append_utterance(utterance)
    live.save(tmp_path / "live.safetensors")
    with pytest.raises(ConfigError, match="begun with a speaker memory"):
        LiveConversation.load(tmp_path / "live.safetensors", predictor)
    resumed = LiveConversation.load(tmp_path / "live.safetensors", predictor, past=past)
    third = talk("b", BEN).utterances[2]
    assert resumed.append_utterance(third).probabilities == live.append_utterance(third).probabilities
