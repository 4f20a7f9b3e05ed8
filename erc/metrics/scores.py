"""Classification scores as small frozen objects.

0/0 counts as 0, as with scikit-learn's `zero_division=0`; MCC is 0 if a margin is empty. Averages are over
all labels, with or without support, as in published figures; `without_support` names the labels without
support.

Shapes: B utterances, C labels.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from erc.uncertainty.checks import as_classes, as_multi_hot
from erc.uncertainty.counts import f1, label_counts, one_hot, safe_ratio
from erc.uncertainty.losses import hamming_loss


@dataclass(frozen=True, slots=True)
class PerLabelScores:
    """Scores of one label against the rest.

    Attributes:
        label: The label.
        accuracy: Share of right decisions.
        precision: Precision.
        recall: Recall.
        f1: F1 score.
        mcc: Matthews correlation.
        support: Number of utterances with the label.
        predicted: Number of utterances for which the label was decided.
        threshold: Decision threshold, if there is one.
    """

    label: str
    accuracy: float
    precision: float
    recall: float
    f1: float
    mcc: float
    support: int
    predicted: int
    threshold: float | None = None


@dataclass(frozen=True, slots=True)
class Averages:
    """Precision, recall and F1 for one kind of average."""

    precision: float
    recall: float
    f1: float


@dataclass(frozen=True, slots=True)
class MultiLabelReport:
    """Scores of multi-label decisions.

    Attributes:
        utterances: Number of utterances.
        per_label: Scores of each label.
        macro: Averages over labels.
        micro: Averages over all cells.
        weighted: Averages over labels, weighted by support.
        samples: Averages over utterances.
        subset_accuracy: Share of utterances with every label right.
        hamming_loss: Share of wrong cells.
        without_support: Labels without support.
    """

    utterances: int
    per_label: tuple[PerLabelScores, ...]
    macro: Averages
    micro: Averages
    weighted: Averages
    samples: Averages
    subset_accuracy: float
    hamming_loss: float
    without_support: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        """The JSON form."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class SingleLabelReport:
    """Scores of one class per utterance.

    Micro-averaged precision, recall and F1 all equal the accuracy when every utterance has one class and one
    decision.

    Attributes:
        utterances: Number of utterances.
        accuracy: Share of right decisions.
        per_class: Scores of each class.
        macro: Averages over classes.
        micro: Averages over all decisions.
        weighted: Averages over classes, weighted by support.
        confusion: `confusion[i][j]` counts utterances of class i decided as j.
        without_support: Classes without support.
    """

    utterances: int
    accuracy: float
    per_class: tuple[PerLabelScores, ...]
    macro: Averages
    micro: Averages
    weighted: Averages
    confusion: tuple[tuple[int, ...], ...]
    without_support: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        """The JSON form."""
        return asdict(self)


def multilabel_scores(
    decisions: np.ndarray,
    targets: np.ndarray,
    *,
    labels: Sequence[str],
    thresholds: Sequence[float] | None = None,
) -> MultiLabelReport:
    """The report of boolean decisions and multi-hot targets (B, C)."""
    observed = as_multi_hot(targets, shape=(len(np.asarray(targets)), len(labels)))
    decided = as_multi_hot(decisions, shape=observed.shape, name="decisions")
    _check_not_empty(observed)
    tp, fp, fn = label_counts(decided, observed)
    hits, both = (decided & observed).sum(axis=1), decided.sum(axis=1) + observed.sum(axis=1)
    samples = Averages(
        precision=float(safe_ratio(hits, decided.sum(axis=1)).mean()),
        recall=float(safe_ratio(hits, observed.sum(axis=1)).mean()),
        f1=float(safe_ratio(2 * hits, both).mean()),
    )
    return MultiLabelReport(
        utterances=len(observed),
        per_label=_per_label(tp, fp, fn, len(observed), labels, thresholds),
        macro=_average(tp, fp, fn, np.ones(len(labels))),
        micro=_micro(tp, fp, fn),
        weighted=_average(tp, fp, fn, tp + fn),
        samples=samples,
        subset_accuracy=float((decided == observed).all(axis=1).mean()),
        hamming_loss=float(hamming_loss(decided, observed).mean()),
        without_support=_without_support(tp + fn, labels),
    )


def singlelabel_scores(
    decisions: np.ndarray, targets: np.ndarray, *, labels: Sequence[str]
) -> SingleLabelReport:
    """The report of decided and true class indices (B,)."""
    size = len(labels)
    true = as_classes(targets, rows=len(np.asarray(targets)), classes=size)
    decided = as_classes(decisions, rows=len(true), classes=size, name="decisions")
    _check_not_empty(true)
    confusion = np.bincount(true * size + decided, minlength=size * size).reshape(size, size)
    tp, fp, fn = label_counts(one_hot(decided, size), one_hot(true, size))
    return SingleLabelReport(
        utterances=len(true),
        accuracy=float((true == decided).mean()),
        per_class=_per_label(tp, fp, fn, len(true), labels, None),
        macro=_average(tp, fp, fn, np.ones(size)),
        micro=_micro(tp, fp, fn),
        weighted=_average(tp, fp, fn, tp + fn),
        confusion=tuple(tuple(map(int, row)) for row in confusion),
        without_support=_without_support(tp + fn, labels),
    )


def matthews(tp: np.ndarray, fp: np.ndarray, fn: np.ndarray, total: int) -> np.ndarray:
    """Matthews correlation (C,) of counts (C,), 0 where a row or column of the 2x2 table is empty."""
    tp, fp, fn = (np.asarray(counts, dtype=np.float64) for counts in (tp, fp, fn))
    tn = total - tp - fp - fn
    # The product of four counts of a large corpus overflows 64-bit integers; floats do not overflow here.
    return safe_ratio(tp * tn - fp * fn, np.sqrt((tp + fp) * (tp + fn) * (tn + fp) * (tn + fn)))


def _per_label(
    tp: np.ndarray,
    fp: np.ndarray,
    fn: np.ndarray,
    total: int,
    labels: Sequence[str],
    thresholds: Sequence[float] | None,
) -> tuple[PerLabelScores, ...]:
    if thresholds is not None and len(thresholds) != len(labels):
        raise ValueError(f"{len(thresholds)} thresholds for {len(labels)} labels")
    precision, recall, scores, mcc = (
        safe_ratio(tp, tp + fp),
        safe_ratio(tp, tp + fn),
        f1(tp, fp, fn),
        matthews(tp, fp, fn, total),
    )
    return tuple(
        PerLabelScores(
            label=label,
            accuracy=float(1 - (fp[c] + fn[c]) / total),
            precision=float(precision[c]),
            recall=float(recall[c]),
            f1=float(scores[c]),
            mcc=float(mcc[c]),
            support=int(tp[c] + fn[c]),
            predicted=int(tp[c] + fp[c]),
            threshold=None if thresholds is None else float(thresholds[c]),
        )
        for c, label in enumerate(labels)
    )


def _average(tp: np.ndarray, fp: np.ndarray, fn: np.ndarray, weights: np.ndarray) -> Averages:
    share = safe_ratio(weights, np.sum(weights))
    return Averages(
        precision=float(share @ safe_ratio(tp, tp + fp)),
        recall=float(share @ safe_ratio(tp, tp + fn)),
        f1=float(share @ f1(tp, fp, fn)),
    )


def _micro(tp: np.ndarray, fp: np.ndarray, fn: np.ndarray) -> Averages:
    return _average(tp.sum(keepdims=True), fp.sum(keepdims=True), fn.sum(keepdims=True), np.ones(1))


def _without_support(support: np.ndarray, labels: Sequence[str]) -> tuple[str, ...]:
    return tuple(label for label, count in zip(labels, support, strict=True) if count == 0)


def _check_not_empty(targets: np.ndarray) -> None:
    if not len(targets):
        raise ValueError("no utterances to score")
