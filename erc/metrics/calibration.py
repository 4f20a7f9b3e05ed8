"""Calibration: calibration errors, proper scores and reliability diagrams.

Bins hold equal numbers of cells by default. Cells of equal probability share their mean outcome, so no figure
depends on the input order. Over all cells of a multi-label task the error is trivially small, because most
cells are near 0. Reports therefore give the errors per label, weighted by support, and over the cells with p
>= 0.2.

Shapes: B utterances, C labels, K bins.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np

from erc.uncertainty.checks import as_classes, as_multi_hot, as_probabilities, as_vector
from erc.uncertainty.counts import one_hot, safe_ratio

BINS = 15
RESTRICTED_FROM = 0.2
_SMALLEST = 1e-12  # a certain wrong prediction costs 27.6 nats instead of infinity
Scheme = Literal["mass", "width"]


@dataclass(frozen=True, slots=True, eq=False)
class Reliability:
    """The non-empty bins of a reliability diagram, each array (K,).

    Attributes:
        probability: Mean probability of the cells in each bin.
        frequency: Share of positives in each bin.
        count: Cells in each bin.
    """

    probability: np.ndarray
    frequency: np.ndarray
    count: np.ndarray

    @property
    def error(self) -> float | None:
        """Expected calibration error.

        The mean |probability - frequency|, weighted by count; None without cells.
        """
        total = self.count.sum()
        return (
            float((self.count * np.abs(self.probability - self.frequency)).sum() / total) if total else None
        )


@dataclass(frozen=True, slots=True)
class LabelCalibration:
    """Calibration of one label.

    Attributes:
        label: The label.
        ece: Expected calibration error, with bins of equal mass.
        ece_width: Expected calibration error, with bins of equal width.
        brier: Brier score.
        nll: Mean negative log-likelihood in nats.
        brier_skill: Relative reduction of the base rate's Brier score; None if all targets are equal.
        base_rate: Share of positives.
        mean_probability: Mean of the probabilities.
    """

    label: str
    ece: float
    ece_width: float
    brier: float
    nll: float
    brier_skill: float | None
    base_rate: float
    mean_probability: float


@dataclass(frozen=True, slots=True)
class MultiLabelCalibration:
    """Calibration of independent labels.

    Attributes:
        macro_ece: Mean of the labels' expected calibration errors.
        weighted_ece: Their mean weighted by support.
        all_cells_ece: Expected calibration error over all cells.
        restricted_ece: Expected calibration error over cells with p >= 0.2; None without such cells.
        restricted_cells: Number of these cells.
        brier: Brier score over all cells.
        nll: Mean negative log-likelihood over all cells in nats.
        macro_brier_skill: Mean of the labels' Brier skills; None if no label has one.
        per_label: Calibration of each label.
    """

    macro_ece: float
    weighted_ece: float
    all_cells_ece: float
    restricted_ece: float | None
    restricted_cells: int
    brier: float
    nll: float
    macro_brier_skill: float | None
    per_label: tuple[LabelCalibration, ...]

    def to_dict(self) -> dict[str, Any]:
        """The JSON form."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class SingleLabelCalibration:
    """Calibration of exclusive classes.

    Attributes:
        top_ece: Error of the decisions' confidence against their accuracy, with bins of equal mass.
        top_ece_width: The same with bins of equal width.
        classwise_ece: Mean of the classes' expected calibration errors.
        brier: Brier score, summed over classes (0 to 2).
        nll: Negative log-likelihood in nats per utterance.
        brier_skill: Relative reduction of the base rates' Brier score; None if all targets are equal.
        mean_confidence: Mean probability of the decided class.
        accuracy: Share of right decisions.
        per_class: Calibration of each class.
    """

    top_ece: float
    top_ece_width: float
    classwise_ece: float
    brier: float
    nll: float
    brier_skill: float | None
    mean_confidence: float
    accuracy: float
    per_class: tuple[LabelCalibration, ...]

    def to_dict(self) -> dict[str, Any]:
        """The JSON form."""
        return asdict(self)


def reliability(
    probabilities: np.ndarray, outcomes: np.ndarray, *, bins: int = BINS, scheme: Scheme = "mass"
) -> Reliability:
    """Points of probabilities (B,) and 0/1 outcomes (B,)."""
    values = as_vector(probabilities, name="probabilities")
    observed = as_vector(outcomes, name="outcomes", rows=len(values))
    if bins < 1:
        raise ValueError(f"bins={bins}: at least one is needed")
    if scheme not in ("mass", "width"):
        raise ValueError(f"scheme={scheme!r}: expected 'mass' or 'width'")
    order = np.argsort(values, kind="stable")
    ranked = values[order]
    # A tie may span two bins of equal mass, so each of its cells takes the mean outcome of the tie.
    _, tie, sizes = np.unique(ranked, return_inverse=True, return_counts=True)
    shared = (np.bincount(tie, weights=observed[order]) / sizes)[tie] if len(values) else observed
    if scheme == "mass":
        bin_of = (np.arange(len(values)) * bins) // max(len(values), 1)
    else:
        bin_of = np.minimum((ranked * bins).astype(int), bins - 1)
    count = np.bincount(bin_of, minlength=bins)
    filled = count > 0
    mean, frequency = (
        safe_ratio(np.bincount(bin_of, weights=weights, minlength=bins), count)
        for weights in (ranked, shared)
    )
    return Reliability(probability=mean[filled], frequency=frequency[filled], count=count[filled])


def binary_ece(
    probabilities: np.ndarray, outcomes: np.ndarray, *, bins: int = BINS, scheme: Scheme = "mass"
) -> float:
    """Expected calibration error of probabilities (B,) against 0/1 outcomes (B,)."""
    error = reliability(probabilities, outcomes, bins=bins, scheme=scheme).error
    if error is None:
        raise ValueError("no cells: a calibration error has no value")
    return error


def restricted_ece(
    probabilities: np.ndarray, targets: np.ndarray, *, least: float = RESTRICTED_FROM, bins: int = BINS
) -> tuple[float | None, int]:
    """(error, cells) over the cells of (B, C) with probability >= `least`; error None without cells."""
    array = np.asarray(probabilities, dtype=np.float64)
    chosen = array >= least
    return reliability(array[chosen], np.asarray(targets)[chosen], bins=bins).error, int(chosen.sum())


def multilabel_calibration(
    probabilities: np.ndarray, targets: np.ndarray, *, labels: Sequence[str], bins: int = BINS
) -> MultiLabelCalibration:
    """The calibration of sigmoid probabilities and multi-hot targets (B, C)."""
    array, observed = as_probabilities(probabilities), as_multi_hot(targets, shape=np.shape(probabilities))
    per_label = _per_label(array, observed, labels, bins)
    errors, support = np.array([entry.ece for entry in per_label]), observed.sum(axis=0)
    restricted, cells = restricted_ece(array, observed, bins=bins)
    skills = [entry.brier_skill for entry in per_label if entry.brier_skill is not None]
    return MultiLabelCalibration(
        macro_ece=float(errors.mean()),
        weighted_ece=float(safe_ratio(errors @ support, support.sum())),
        all_cells_ece=binary_ece(array.ravel(), observed.ravel(), bins=bins),
        restricted_ece=restricted,
        restricted_cells=cells,
        brier=float(((array - observed) ** 2).mean()),
        nll=float(_binary_nll(array, observed).mean()),
        macro_brier_skill=float(np.mean(skills)) if skills else None,
        per_label=per_label,
    )


def singlelabel_calibration(
    probabilities: np.ndarray, targets: np.ndarray, *, labels: Sequence[str], bins: int = BINS
) -> SingleLabelCalibration:
    """The calibration of softmax probabilities (B, C) and class indices (B,)."""
    array = as_probabilities(probabilities)
    classes = as_classes(targets, rows=array.shape[0], classes=array.shape[1])
    observed = one_hot(classes, array.shape[1])
    per_class = _per_label(array, observed, labels, bins)
    confidence, right = array.max(axis=1), array.argmax(axis=1) == classes
    brier = float(((array - observed) ** 2).sum(axis=1).mean())
    reference = float(((observed.mean(axis=0) - observed) ** 2).sum(axis=1).mean())
    return SingleLabelCalibration(
        top_ece=binary_ece(confidence, right, bins=bins),
        top_ece_width=binary_ece(confidence, right, bins=bins, scheme="width"),
        classwise_ece=float(np.mean([entry.ece for entry in per_class])),
        brier=brier,
        nll=float(-np.log(np.maximum(array[observed], _SMALLEST)).mean()),
        brier_skill=1 - brier / reference if reference else None,
        mean_confidence=float(confidence.mean()),
        accuracy=float(right.mean()),
        per_class=per_class,
    )


def _binary_nll(probabilities: np.ndarray, targets: np.ndarray) -> np.ndarray:
    return -np.log(np.maximum(np.where(targets, probabilities, 1 - probabilities), _SMALLEST))


def _per_label(
    probabilities: np.ndarray, targets: np.ndarray, labels: Sequence[str], bins: int
) -> tuple[LabelCalibration, ...]:
    if probabilities.shape[1] != len(labels):
        raise ValueError(f"probabilities have {probabilities.shape[1]} labels where {len(labels)} are named")
    entries = []
    for c, label in enumerate(labels):
        p, y = probabilities[:, c], targets[:, c].astype(np.float64)
        brier, reference = float(((p - y) ** 2).mean()), float(y.mean() * (1 - y.mean()))
        entries.append(
            LabelCalibration(
                label=label,
                ece=binary_ece(p, y, bins=bins),
                ece_width=binary_ece(p, y, bins=bins, scheme="width"),
                brier=brier,
                nll=float(_binary_nll(p, targets[:, c]).mean()),
                brier_skill=1 - brier / reference if reference else None,
                base_rate=float(y.mean()),
                mean_probability=float(p.mean()),
            )
        )
    return tuple(entries)
