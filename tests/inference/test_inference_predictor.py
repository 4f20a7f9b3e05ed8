"""The Predictor with an utterance classifier: batching, records, policies, settings."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from erc.data import Conversation, Utterance
from erc.emotions import load_emotion_map, load_emotion_set
from erc.errors import ArtefactError, ConfigError, NoDropoutError
from erc.inference.loading import load_predictor
from erc.inference.predictor import Labelled, Predictor
from erc.inference.scorers.mc_uncertainty import SampledUncertainty
from erc.inference.scorers.settings import MAX_SAMPLES, InferenceSettings
from erc.inference.scorers.utterance import UtteranceScorer
from erc.persistence import load_artefact
from erc.persistence.layout import write_manifest
from erc.uncertainty.calibration import Identity, PerLabelPlatt, calibrate_samples
from erc.uncertainty.decomposition import binary_decomposition

FP32 = InferenceSettings(precision="fp32")
LINES = (
    "I am so happy to see you again, thank you!",
    "Why did nobody tell me?",
    "",
    "No.",
    "She was surprised, then sad, and then she laughed. Okay, let us start with the report from yesterday.",
    "This is not what we agreed on and I am angry.",
    "It hurts; I do not want to talk about it now.",
)


def _conversation(name: str, lines: tuple[str, ...] = LINES) -> Conversation:
    turns = tuple(
        Utterance(utterance_id=f"{name}-{i}", index=i, speaker="AB"[i % 2], text=line)
        for i, line in enumerate(lines)
    )
    return Conversation(conversation_id=name, utterances=turns)


def _predictor(folder: Path, *, emotions: str | None = None, **changes: Any) -> Predictor:
    return load_predictor(str(folder), settings=replace(FP32, **changes), emotions=emotions)


@pytest.fixture(scope="module")
def predictor(tiny_utterance_artefact: Path) -> Predictor:
    return _predictor(tiny_utterance_artefact)


def _numbers(labelled: list[Labelled]) -> np.ndarray:
    """Probabilities, uncertainty and fine epistemic parts, one row per turn."""
    rows = []
    for one in labelled:
        for p in one.predictions:
            values = [p.probabilities[label] for label in sorted(p.probabilities)]
            rows.append(
                [
                    *values,
                    p.confidence,
                    p.total,
                    p.aleatoric or 0.0,
                    p.epistemic or 0.0,
                    p.fine[0].epistemic or 0.0,
                ]
            )
    return np.array(rows)


# --- independence of other conversations in the batch
# ------------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", ["off", "head", "top-k", "full"])
def test_predictor_scores_do_not_depend_on_batches_or_order(tiny_utterance_artefact: Path, mode: str) -> None:
    conversation = _conversation("a")
    together = _predictor(tiny_utterance_artefact, uncertainty=mode)
    expected = _numbers(together.label([conversation]))
    company = [
        _conversation("b", ("Okay, let us start!", "x " * 300)),
        conversation,
        _conversation("c", LINES[::-1]),
    ]
    np.testing.assert_allclose(_numbers([together.label(company)[1]]), expected, atol=2e-5)
    np.testing.assert_allclose(_numbers([together.label(company)[2]])[::-1], expected, atol=2e-5)
    small = _predictor(tiny_utterance_artefact, uncertainty=mode, tokens_per_batch=1)
    np.testing.assert_allclose(_numbers(small.label([conversation])), expected, atol=2e-5)


def test_predictor_is_reproducible_and_changes_with_the_seed(
    tiny_utterance_artefact: Path, predictor: Predictor
) -> None:
    first = _numbers(predictor.label([_conversation("a")]))
    assert np.array_equal(first, _numbers(predictor.label([_conversation("a")])))
    other = _numbers(_predictor(tiny_utterance_artefact, seed=1).label([_conversation("a")]))
    assert np.array_equal(first[:, :29], other[:, :29])  # probabilities come from the deterministic pass
    assert not np.allclose(first[:, 29:], other[:, 29:], atol=1e-5)


@pytest.mark.parametrize("window", [1, 5, 10_000])
def test_predictor_stream_keeps_input_order_and_equals_label(
    tiny_utterance_artefact: Path, predictor: Predictor, window: int
) -> None:
    conversations = [_conversation(f"c{i}", LINES[: 1 + i % 3]) for i in range(7)]
    streamed = list(_predictor(tiny_utterance_artefact, turns_per_window=window).stream(iter(conversations)))
    assert [one.conversation.conversation_id for one in streamed] == [f"c{i}" for i in range(7)]
    np.testing.assert_allclose(_numbers(streamed), _numbers(predictor.label(conversations)), atol=2e-5)


@pytest.mark.parametrize(("lines", "most"), [(LINES[:2], 5), ((), 10)])
def test_predictor_stream_reads_at_most_one_window_ahead(
    tiny_utterance_artefact: Path, lines: tuple[str, ...], most: int
) -> None:
    """Conversations without turns count towards the window, so it is bounded."""
    drawn: list[int] = []

    def source() -> Iterator[Conversation]:
        for number in range(100):
            drawn.append(number)
            yield _conversation(str(number), lines)

    stream = _predictor(tiny_utterance_artefact, turns_per_window=10).stream(source())
    next(stream)
    assert len(drawn) == most


def test_predictor_of_no_turns_returns_no_predictions(predictor: Predictor) -> None:
    assert predictor.label([]) == []
    assert list(predictor.stream([])) == []
    assert [one.predictions for one in predictor.label([_conversation("empty", ())])] == [()]


def test_predictor_labels_an_empty_text(predictor: Predictor) -> None:
    (one,) = predictor.label([_conversation("a", ("",))])
    assert one.predictions[0].emotion in load_emotion_set("goemotions").labels
    assert not one.predictions[0].truncated


@pytest.mark.parametrize(
    "text",
    ["\ud800 lone surrogate", "nul \x00 byte", "\u202e right to left", "e" + "\u0301" * 5000, "👩‍👩‍👧" * 500],
)
def test_predictor_accepts_any_text(predictor: Predictor, text: str) -> None:
    (one,) = predictor.label([_conversation("a", (text, "No."))])
    record = json.loads(json.dumps(one.predictions[0].to_record(), allow_nan=False))
    assert record["text"] == text
    np.testing.assert_allclose(
        _numbers([one])[1], _numbers(predictor.label([_conversation("b", ("No.",))]))[0], atol=2e-5
    )


# --- long texts
# ---


@pytest.mark.parametrize("unit", ["a", "a ", "happy "])
def test_predictor_marks_a_huge_text_truncated_in_little_time(predictor: Predictor, unit: str) -> None:
    text = (unit * 200_000)[:200_000]
    started = time.perf_counter()
    (one,) = predictor.label([_conversation("a", (text, "No."))])
    assert time.perf_counter() - started < 2.0
    assert [p.truncated for p in one.predictions] == [True, False]
    np.testing.assert_allclose(
        _numbers(predictor.label([_conversation("a", (text[:5000],))])), _numbers([one])[:1], atol=2e-5
    )


def test_predictor_marks_only_truncated_texts(predictor: Predictor) -> None:
    """48 tokens hold 46 words between the two special ones."""
    (one,) = predictor.label([_conversation("a", ("happy " * 45, "happy " * 46, "happy " * 47))])
    assert [p.truncated for p in one.predictions] == [False, False, True]


# --- the record
# ---


def test_predictor_record_has_every_field_of_the_schema(predictor: Predictor) -> None:
    (one,) = predictor.label([_conversation("standup")])
    record = json.loads(json.dumps(one.predictions[1].to_record(), allow_nan=False))
    named = {
        "conversation_id": "standup",
        "utterance_id": "standup-1",
        "index": 1,
        "speaker": "B",
        "speaker_id": None,
        "text": LINES[1],
    }
    assert {key: record[key] for key in named} == named
    assert (record["start"], record["end"], record["timestamp"]) == (None, None, None)
    assert record["model"] == "tiny-utterance@3"
    assert record["history"] == {"utterances": 0, "conversations": 0}
    assert record["schema_version"] == 1
    assert set(record["uncertainty"]) == {"total", "aleatoric", "epistemic"}
    assert all(set(fine) == {"emotion", "probability", "epistemic"} for fine in record["fine"])
    assert record["decision"] in ("accept", "review")
    labels = load_emotion_set("goemotions").labels
    assert set(record["probabilities"]) == set(labels)
    assert next(iter(record["probabilities"])) == record["emotion"]
    assert (
        record["confidence"]
        == record["probabilities"][record["emotion"]]
        == max(record["probabilities"].values())
    )


def test_predictor_record_contains_times_and_cues(predictor: Predictor) -> None:
    turn = Utterance(
        "u",
        0,
        "A",
        "No.",
        start=1.5,
        end=2.0,
        timestamp="2024-01-01T00:00:00Z",
        meta={"cues": [[0, 1]], "secret": "x"},
    )
    (one,) = predictor.label([Conversation("c", (turn,))])
    record = one.predictions[0].to_record()
    assert (record["start"], record["end"], record["timestamp"], record["cues"]) == (
        1.5,
        2.0,
        "2024-01-01T00:00:00Z",
        [[0, 1]],
    )
    assert "secret" not in record


def test_predictor_without_sampling_has_no_uncertainty_parts(tiny_utterance_artefact: Path) -> None:
    (one,) = _predictor(tiny_utterance_artefact, uncertainty="off").label([_conversation("a")])
    for prediction in one.predictions:
        assert prediction.total > 0
        assert prediction.aleatoric is None
        assert prediction.epistemic is None
        assert all(fine.epistemic is None for fine in prediction.fine)
    assert (
        json.loads(json.dumps(one.predictions[0].to_record(), allow_nan=False))["uncertainty"]["epistemic"]
        is None
    )


def test_predictor_uncertainty_parts_sum_to_the_total(predictor: Predictor) -> None:
    for prediction in predictor.label([_conversation("a")])[0].predictions:
        assert prediction.aleatoric is not None
        assert prediction.epistemic is not None
        assert prediction.epistemic > 0
        assert prediction.aleatoric + prediction.epistemic == pytest.approx(prediction.total)


def test_predictor_with_one_sample_has_zero_epistemic_uncertainty(tiny_utterance_artefact: Path) -> None:
    for mode in ("head", "full"):
        (one,) = _predictor(tiny_utterance_artefact, samples=1, uncertainty=mode).label([_conversation("a")])
        assert [p.epistemic for p in one.predictions] == [0.0] * len(LINES)


# --- decisions, fine emotions, maps
# ---------------------------------------------------------------------------------------------


def test_predictor_applies_the_policy_of_the_model(predictor: Predictor) -> None:
    assert predictor.policy is not None
    predictions = predictor.label([_conversation("a")])[0].predictions
    assert {p.decision for p in predictions} <= {"accept", "review"}
    assert [p.decision for p in predictions] == [
        "accept" if p.confidence >= 0.8 else "review" for p in predictions
    ]


def test_predictor_marks_a_turn_for_review_by_the_policy(
    tiny_utterance_artefact: Path, predictor: Predictor
) -> None:
    from erc.uncertainty.policy import DecisionPolicy

    totals = [p.total for p in predictor.label([_conversation("a")])[0].predictions]
    middle = float(np.median(totals))
    changed = Predictor(predictor.scorer, policy=DecisionPolicy(max_uncertainty=middle))
    decisions = [p.decision for p in changed.label([_conversation("a")])[0].predictions]
    assert decisions == ["accept" if total <= middle else "review" for total in totals]
    assert len(set(decisions)) == 2


def test_predictor_without_a_policy_for_the_set_accepts_every_turn(tiny_utterance_artefact: Path) -> None:
    predictor = _predictor(tiny_utterance_artefact, emotions="ekman")
    assert predictor.policy is None
    assert {p.decision for p in predictor.label([_conversation("a")])[0].predictions} == {"accept"}


def test_predictor_fine_emotions_are_above_their_threshold_or_the_likeliest(
    predictor: Predictor,
) -> None:
    (one,) = predictor.label([_conversation("a")])
    counts = []
    for prediction in one.predictions:
        above = [(label, p) for label, p in prediction.probabilities.items() if p >= 0.6]
        expected = above or [next(iter(prediction.probabilities.items()))]
        assert [(fine.emotion, fine.probability) for fine in prediction.fine] == expected
        counts.append(len(above))
    assert max(counts) > 1


def test_predictor_fine_list_is_never_empty(predictor: Predictor) -> None:
    from erc.uncertainty.thresholds import LabelThresholds

    strict = Predictor(predictor.scorer, fine_thresholds=LabelThresholds.constant(1.0, 28))
    for prediction in strict.label([_conversation("a")])[0].predictions:
        assert [fine.emotion for fine in prediction.fine] == [prediction.emotion]


@pytest.mark.parametrize("target", ["ekman", "sentiment", "goemotions"])
def test_predictor_reports_another_set_through_the_map_of_probabilities(
    tiny_utterance_artefact: Path, predictor: Predictor, target: str
) -> None:
    own = predictor.label([_conversation("a")])[0].predictions
    mapped = _predictor(tiny_utterance_artefact, emotions=target).label([_conversation("a")])[0].predictions
    emotion_map = load_emotion_map("goemotions", target)
    for before, after in zip(own, mapped, strict=True):
        source = np.array([before.probabilities[label] for label in emotion_map.source.labels])
        expected = dict(zip(emotion_map.target.labels, emotion_map.apply(source), strict=True))
        assert after.probabilities == pytest.approx(expected)
        assert after.emotion == max(expected, key=expected.__getitem__)
        assert [fine.emotion for fine in after.fine] == [fine.emotion for fine in before.fine]


def test_predictor_refuses_a_set_without_a_map(tiny_utterance_artefact: Path) -> None:
    with pytest.raises(ConfigError, match="no map from 'goemotions' to 'semeval2018'"):
        _predictor(tiny_utterance_artefact, emotions="semeval2018")


@pytest.mark.parametrize(
    "calibrator", [PerLabelPlatt(slope=(0.7,) * 28, intercept=(-0.3,) * 28), Identity("sigmoid")]
)
@pytest.mark.parametrize("target", ["ekman", "sentiment", "goemotions"])
def test_sampled_uncertainty_equals_the_numpy_functions(
    calibrator: PerLabelPlatt | Identity, target: str
) -> None:
    logits = torch.randn(5, 4, 28, generator=torch.Generator().manual_seed(0)) * 4
    emotion_map = load_emotion_map("goemotions", target)
    own, mapped = SampledUncertainty(calibrator, emotion_map)(logits)
    sampled = calibrate_samples(calibrator, logits.numpy())
    for name in ("total", "aleatoric", "epistemic"):
        np.testing.assert_allclose(
            getattr(own, name), getattr(binary_decomposition(sampled), name), atol=2e-6
        )
        expected = binary_decomposition(emotion_map.apply(sampled)).utterance()
        np.testing.assert_allclose(getattr(mapped, name), getattr(expected, name), atol=2e-5)


# --- precision and settings
# -----------------------------------------------------------------------------------------------------


def test_predictor_in_bf16_is_within_three_hundredths_of_fp32(
    tiny_utterance_artefact: Path, predictor: Predictor
) -> None:
    """The documented tolerance of bf16: no probability moves by .03."""
    reduced = _numbers(_predictor(tiny_utterance_artefact, precision="bf16").label([_conversation("a")]))
    full = _numbers(predictor.label([_conversation("a")]))
    assert 0.0 < np.abs(reduced[:, :28] - full[:, :28]).max() < 0.03


def test_predictor_uses_the_default_sampling_of_the_model(tiny_utterance_artefact: Path) -> None:
    scorer = UtteranceScorer(load_artefact(tiny_utterance_artefact), settings=FP32)
    assert (scorer.mode, scorer.samples, scorer.top_k) == ("head", 6, 1)
    chosen = UtteranceScorer(
        load_artefact(tiny_utterance_artefact), settings=replace(FP32, uncertainty="full", samples=3)
    )
    assert (chosen.mode, chosen.samples) == ("full", 3)


@pytest.mark.parametrize(
    "uncertainty", [{"mode": "tail"}, {"samples": 10**9}, {"samples": 0}, {"top_k": 0}, {"samples": "many"}]
)
def test_predictor_refuses_a_model_with_invalid_sampling(
    tiny_utterance_artefact: Path, uncertainty: dict[str, Any]
) -> None:
    artefact = load_artefact(tiny_utterance_artefact)
    with pytest.raises(ArtefactError, match=f"tiny-utterance@3.*{next(iter(uncertainty))}"):
        UtteranceScorer(
            replace(artefact, info=replace(artefact.info, uncertainty=uncertainty)), settings=FP32
        )


@pytest.mark.parametrize(
    "changes", [{"samples": 0}, {"samples": MAX_SAMPLES + 1}, {"uncertainty": "some"}, {"precision": "fp16"}]
)
def test_inference_settings_refuse_invalid_values(changes: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=str(next(iter(changes.values())))):
        InferenceSettings(**changes)


def test_predictor_of_a_model_without_dropout_is_refused_unless_uncertainty_is_off(
    tiny_utterance_artefact: Path, tmp_path: Path
) -> None:
    folder = Path(shutil.copytree(tiny_utterance_artefact, tmp_path / "m"))
    info = json.loads((folder / "artefact.json").read_text(encoding="utf-8"))
    info["hidden_dropout"] = info["architecture"]["dropout"] = 0.0
    (folder / "artefact.json").write_text(json.dumps(info), encoding="utf-8")
    write_manifest(folder)
    with pytest.raises(NoDropoutError, match="tiny-utterance@3 cannot give Monte-Carlo uncertainty"):
        _predictor(folder)
    assert _predictor(folder, uncertainty="off").label([_conversation("a")])


def test_predictor_of_an_unknown_model_lists_the_known_models(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CONVEMO_MODELS", str(tmp_path))
    with pytest.raises(ArtefactError, match="there is no model 'nothing-like-it'"):
        load_predictor("nothing-like-it")
