import hashlib
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from erc.emotions import load_emotion_set
from erc.errors import ArtefactError, InputError
from erc.evaluation.evaluate import Evaluation, evaluate
from erc.evaluation.figures import write_figures
from erc.evaluation.labelled_data import load_gold
from erc.inference.scorers.settings import InferenceSettings
from erc.inference.scorers.utterance import UtteranceScorer
from erc.persistence.artefact import Artefact, load_artefact

WORDS = ("happy", "angry", "worried", "report", "surprised", "hurts")
OFF = InferenceSettings(uncertainty="off", precision="fp32")
HEAD = InferenceSettings(uncertainty="head", samples=3, precision="fp32")


@pytest.fixture(scope="module")
def artefact(tiny_utterance_artefact: Path) -> Artefact:
    return load_artefact(tiny_utterance_artefact)


@pytest.fixture(scope="module")
def comments(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Forty comments in GoEmotions' layout with every label."""
    rows = [
        f"I am {WORDS[i % 6]} {'!' * (i % 5)} {i}\t{i % 28}{',27' if i % 4 == 1 else ''}\tc{i}"
        for i in range(40)
    ]
    path = tmp_path_factory.mktemp("gold") / "test.tsv"
    path.write_text("\n".join(rows) + "\n", encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def dialogues(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twelve dialogues of three turns; the last turn has no label."""
    labels = ("joy", "anger", "sadness", "neutral")
    rows = [
        f"d{d},Ana,I am {WORDS[(d + t) % 6]} {d},{labels[(d + t) % 4] if t < 2 else ''}"
        for d in range(12)
        for t in range(3)
    ]
    path = tmp_path_factory.mktemp("gold") / "chat.csv"
    path.write_text("conversation,speaker,text,emotion\n" + "\n".join(rows) + "\n", encoding="utf-8")
    return path


def run(artefact: Artefact, path: Path, settings: InferenceSettings = OFF) -> dict[str, Any]:
    return evaluated(artefact, path, settings).report


def evaluated(artefact: Artefact, path: Path, settings: InferenceSettings) -> Evaluation:
    return evaluate(artefact, load_gold(str(path), model_set="goemotions"), settings=settings, resamples=20)


@pytest.fixture(scope="module")
def of_comments(artefact: Artefact, comments: Path) -> Evaluation:
    return evaluated(artefact, comments, HEAD)


@pytest.fixture(scope="module")
def of_dialogues(artefact: Artefact, dialogues: Path) -> Evaluation:
    return evaluated(artefact, dialogues, HEAD)


def test_evaluate_shipped_figures_use_the_stored_calibrator_and_thresholds(
    artefact: Artefact, comments: Path, of_comments: Evaluation
) -> None:
    gold = load_gold(str(comments), model_set="goemotions")
    decided = (
        UtteranceScorer(artefact, settings=OFF)
        .score_texts([turn.text for turn in gold.turns()])
        .probabilities
        >= 0.6
    )
    true = gold.targets()[0]
    hits = (decided & true).sum(axis=0)
    shipped = of_comments.report["shipped"]
    assert [row["threshold"] for row in shipped["per_label"]] == [0.6] * 28
    np.testing.assert_allclose(
        [row["f1"] for row in shipped["per_label"]], 2 * hits / (decided.sum(axis=0) + true.sum(axis=0))
    )
    assert shipped["macro"]["f1"] == pytest.approx(np.mean([row["f1"] for row in shipped["per_label"]]))


def test_evaluate_at_half_uses_uncalibrated_logits(
    artefact: Artefact, comments: Path, of_comments: Evaluation
) -> None:
    gold = load_gold(str(comments), model_set="goemotions")
    logits = UtteranceScorer(artefact, settings=OFF).score_texts([turn.text for turn in gold.turns()]).logits
    rows = of_comments.report["at_half"]["per_label"]
    assert [row["predicted"] for row in rows] == (logits >= 0).sum(axis=0).tolist()


def test_evaluate_on_the_tuning_file_marks_the_figures_in_sample(artefact: Artefact, comments: Path) -> None:
    sha256 = hashlib.sha256(comments.read_bytes()).hexdigest()
    tuned = replace(artefact, info=replace(artefact.info, data={"goemotions/dev.tsv": sha256}))
    report = run(tuned, comments)
    assert report["seen_in_training"] == {"files": ["goemotions/dev.tsv"], "as": "tuned"}
    assert report["shipped"]["in_sample"]
    assert "cross-fitted ones are the honest ones" in report["notes"][-1]


def test_evaluate_on_the_training_file_adds_a_note(artefact: Artefact, comments: Path) -> None:
    sha256 = hashlib.sha256(comments.read_bytes()).hexdigest()
    info = replace(
        artefact.info, data={"goemotions/train.tsv": sha256}, config={"data": {"train_split": "test"}}
    )
    assert "was trained on goemotions/train.tsv" in run(replace(artefact, info=info), comments)["notes"][-1]


def test_evaluate_on_an_unseen_file_is_not_in_sample(of_comments: Evaluation) -> None:
    report = of_comments.report
    assert report["seen_in_training"] is None
    assert not report["shipped"]["in_sample"]


def test_evaluate_with_sampling_adds_monte_carlo_signals(
    artefact: Artefact, comments: Path, of_comments: Evaluation
) -> None:
    without, sampled = run(artefact, comments), of_comments.report
    assert {"mc_total", "mc_epistemic"} == set(sampled["selective"]["hamming"]) - set(
        without["selective"]["hamming"]
    )
    assert (sampled["settings"]["mode"], sampled["settings"]["samples"]) == ("head", 3)
    assert without["settings"]["samples"] == 0


def test_evaluate_scores_exclusive_labels_by_the_likeliest_mapped_label(
    artefact: Artefact, dialogues: Path, of_dialogues: Evaluation
) -> None:
    gold = load_gold(str(dialogues), model_set="goemotions")
    matrix, labelled = gold.targets()
    mapped = (
        UtteranceScorer(artefact, settings=OFF, target="ekman")
        .score_texts([turn.text for turn in gold.turns()])
        .mapped
    )
    right = mapped.argmax(axis=1)[labelled] == matrix.argmax(axis=1)[labelled]
    report = of_dialogues.report
    assert report["task"] == "single-label"
    assert report["labels"] == list(load_emotion_set("ekman").labels)
    assert report["scores"]["accuracy"] == pytest.approx(right.mean())
    assert report["map"]["lossy"]
    assert set(report["selective"]["zero_one"]) >= {"mc_total", "mc_epistemic", "entropy", "max_probability"}


def test_evaluate_leaves_out_and_counts_unlabelled_turns(of_dialogues: Evaluation) -> None:
    described = of_dialogues.report["evaluated_on"]
    assert (described["turns"], described["labelled_turns"], described["conversations"]) == (36, 24, 12)


def test_evaluate_folds_and_resamples_keep_dialogues_together(
    of_dialogues: Evaluation, of_comments: Evaluation
) -> None:
    assert of_dialogues.report["protocol"]["resampled"] == "groups"
    assert of_comments.report["protocol"]["resampled"] == "utterances"


def test_evaluate_with_too_few_labels_is_refused(artefact: Artefact, tmp_path: Path) -> None:
    path = tmp_path / "chat.csv"
    path.write_text("speaker,text,emotion\nAna,hello,joy\n", encoding="utf-8")
    with pytest.raises(InputError, match="1 labelled turns: at least 5"):
        run(artefact, path)


def test_evaluate_of_an_unknown_kind_of_model_is_refused(artefact: Artefact, comments: Path) -> None:
    with pytest.raises(ArtefactError, match="of kind 'other'"):
        run(replace(artefact, info=replace(artefact.info, kind="other")), comments)


@pytest.mark.parametrize("which", ["of_comments", "of_dialogues"])
def test_evaluate_report_is_strict_json_and_every_figure_a_png(
    which: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    evaluation = request.getfixturevalue(which)
    json.dumps(evaluation.report, allow_nan=False)
    figures = write_figures(evaluation, tmp_path)
    wanted = {"labels.png", "f1.png", "reliability.png", "rejection.png", "risk_coverage.png"}
    assert {figure.name for figure in figures} >= wanted | {
        "cooccurrence.png" if which == "of_comments" else "confusion.png"
    }
    assert all(figure.read_bytes().startswith(b"\x89PNG") for figure in figures)
