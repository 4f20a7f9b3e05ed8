"""Figures of an evaluation as PNG files.

Shapes: U labelled turns, C labels.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from scipy.special import expit

from erc.evaluation.evaluate import Evaluation
from erc.metrics.calibration import Reliability, reliability
from erc.metrics.figures import (
    confusion_figure,
    cooccurrence_figure,
    label_distribution_figure,
    per_class_f1_figure,
    probability_uncertainty_figure,
    rejection_figure,
    reliability_figure,
    risk_coverage_figure,
    uncertainty_ridges_figure,
)
from erc.uncertainty.losses import hamming_loss, zero_one_loss
from erc.uncertainty.rejection import RejectionCurve
from erc.uncertainty.selective import risk_coverage_curve


def write_figures(evaluation: Evaluation, folder: Path) -> list[Path]:
    """Draws the figures of the task into `folder` and returns their paths.

    Raises:
        MissingExtraError: matplotlib is not installed.
    """
    report = evaluation.report
    labels, supports = report["labels"], list(report["data"]["supports"].values())
    turns = report["data"]["utterances"]
    paths = [label_distribution_figure(supports, labels, folder / "labels.png", utterances=turns)]
    draw = _multilabel if report["task"] == "multi-label" else _singlelabel
    paths += draw(evaluation, folder, labels, supports)
    paths.append(rejection_figure(_rejection_curves(report["rejection"]), folder / "rejection.png"))
    return paths


def _multilabel(evaluation: Evaluation, folder: Path, labels: list[str], supports: list[int]) -> list[Path]:
    report, belief, targets = evaluation.report, evaluation.belief, evaluation.targets
    assert belief.logits is not None
    rows = report["tuned"]["cross_fitted"]["per_label"]
    matrix = np.array(report["cooccurrence"]["matrix"])
    curves = {
        "uncalibrated": _cells(expit(belief.logits), targets),
        "shipped calibrator": _cells(belief.probabilities, targets),
    }
    paths = [
        per_class_f1_figure(
            [row["f1"] for row in rows],
            supports,
            labels,
            folder / "f1.png",
            title="F1 per label, thresholds cross-fitted",
        ),
        reliability_figure(curves, folder / "reliability.png"),
        cooccurrence_figure(matrix, labels, folder / "cooccurrence.png"),
    ]
    shipped = report["shipped"]
    limits = None if shipped is None else [row["threshold"] for row in shipped["per_label"]]
    decisions = belief.probabilities >= (0.5 if limits is None else np.array(limits))
    paths.append(_risk_coverage(evaluation, hamming_loss(decisions, targets), "Hamming loss", folder))
    if belief.mc is not None:
        scattered = folder / "epistemic.png"
        paths.append(
            probability_uncertainty_figure(
                belief.probabilities, belief.mc.epistemic, targets, labels, scattered, thresholds=limits
            )
        )
        paths.append(uncertainty_ridges_figure(belief.mc, labels, folder / "uncertainty.png"))
    return paths


def _singlelabel(evaluation: Evaluation, folder: Path, labels: list[str], supports: list[int]) -> list[Path]:
    report, belief = evaluation.report, evaluation.belief
    true, decided = evaluation.targets.argmax(axis=1), belief.probabilities.argmax(axis=1)
    confidence = {
        "as shipped": reliability(
            belief.probabilities.max(axis=1), (decided == true).astype(float), scheme="width"
        )
    }
    return [
        per_class_f1_figure(
            [row["f1"] for row in report["scores"]["per_class"]], supports, labels, folder / "f1.png"
        ),
        reliability_figure(confidence, folder / "reliability.png", title="Reliability of the decided label"),
        confusion_figure(np.array(report["scores"]["confusion"]), labels, folder / "confusion.png"),
        _risk_coverage(evaluation, zero_one_loss(decided, true), "0/1 error", folder),
    ]


def _risk_coverage(evaluation: Evaluation, losses: np.ndarray, name: str, folder: Path) -> Path:
    """Risk against coverage of the shipped decisions, for every uncertainty estimate."""
    belief = evaluation.belief
    scores = {"1 - largest probability": 1.0 - belief.probabilities.max(axis=1)}
    scores["entropy (one pass)"] = evaluation.entropy
    if belief.mc is not None:
        mc = belief.mc if belief.mc.total.ndim == 1 else belief.mc.utterance()
        scores |= {"Monte-Carlo total": mc.total, "Monte-Carlo epistemic": mc.epistemic}
    curves = {signal: risk_coverage_curve(values, losses) for signal, values in scores.items()}
    return risk_coverage_figure(
        curves, folder / "risk_coverage.png", oracle=risk_coverage_curve(losses, losses), loss=name
    )


def _cells(probabilities: np.ndarray, targets: np.ndarray) -> Reliability:
    """Reliability over all cells (U * C), in bins of equal width."""
    return reliability(probabilities.ravel(), targets.ravel().astype(float), scheme="width")


def _rejection_curves(records: Mapping[str, Mapping[str, Any]]) -> dict[str, RejectionCurve]:
    return {
        name: RejectionCurve(**{key: np.asarray(values) for key, values in record.items()})
        for name, record in records.items()
    }
