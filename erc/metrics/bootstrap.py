"""Bootstrap intervals and paired differences over dialogues.

Turns of one dialogue are correlated, so whole dialogues are resampled; without groups, utterances are. Two
systems are compared on the same resamples. F1 scores need only the counts of each group, so thousands of
resamples are one matrix product.

Shapes: B utterances, C labels, G groups, R resamples.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np

from erc.uncertainty.checks import as_multi_hot, group_index
from erc.uncertainty.counts import f1, safe_ratio
from erc.uncertainty.resampling import Interval, group_draws

Metric = Callable[..., float]
F1Average = Literal["macro", "micro", "weighted"]
F1_AVERAGES: tuple[F1Average, ...] = ("macro", "micro", "weighted")
RESAMPLES = 2_000


@dataclass(frozen=True, slots=True)
class PairedDifference:
    """System a minus system b, with its percentile interval.

    Attributes:
        difference: The metric of system a minus that of system b.
        low: Lower bound of the interval.
        high: Upper bound of the interval.
        p_value: Two-sided p-value for the hypothesis of no difference.
        level: Level of the interval.
        resamples: Number of resamples.
    """

    difference: float
    low: float
    high: float
    p_value: float
    level: float
    resamples: int

    @classmethod
    def of(cls, difference: float, replicates: np.ndarray, *, level: float = 0.95) -> PairedDifference:
        """From replicates (R,) of the difference.

        The p-value is twice the smaller share of replicates on either side of 0, ties counted on both and one
        added to each count (Davison and Hinkley 1997), so it is never 0.
        """
        interval = Interval.of(difference, replicates, level=level)
        share = (1 + min((replicates <= 0).sum(), (replicates >= 0).sum())) / (1 + len(replicates))
        return cls(
            interval.estimate, interval.low, interval.high, float(min(1.0, 2 * share)), level, len(replicates)
        )

    def to_dict(self) -> dict[str, float | int]:
        """The JSON form."""
        return asdict(self)


def bootstrap_interval(
    metric: Metric,
    *arrays: np.ndarray,
    groups: Any | None = None,
    resamples: int = 1_000,
    level: float = 0.95,
    seed: int = 0,
) -> Interval:
    """The interval of `metric(*arrays)`, any callable of arrays that share their first axis (B, ...)."""
    replicates = _replicates(metric, arrays, groups, resamples, seed)
    return Interval.of(metric(*arrays), replicates, level=level)


def paired_bootstrap(
    metric: Metric,
    first: np.ndarray,
    second: np.ndarray,
    targets: np.ndarray,
    *,
    groups: Any | None = None,
    resamples: int = 1_000,
    level: float = 0.95,
    seed: int = 0,
) -> PairedDifference:
    """`metric(first, targets) - metric(second, targets)` on the same resamples."""

    def difference(a: np.ndarray, b: np.ndarray, y: np.ndarray) -> float:
        return metric(a, y) - metric(b, y)

    replicates = _replicates(difference, (first, second, targets), groups, resamples, seed)
    return PairedDifference.of(difference(first, second, targets), replicates, level=level)


def f1_intervals(
    decisions: np.ndarray,
    targets: np.ndarray,
    *,
    groups: Any | None = None,
    resamples: int = RESAMPLES,
    level: float = 0.95,
    seed: int = 0,
) -> dict[F1Average, Interval]:
    """Macro, micro and weighted F1 of boolean matrices (B, C); classes are one-hot."""
    counts = _group_counts(decisions, targets, groups)
    point, replicates = (
        _f1_averages(counts.sum(axis=0, keepdims=True)),
        _f1_replicates(counts, resamples, seed),
    )
    return {
        average: Interval.of(point[average][0], replicates[average], level=level) for average in F1_AVERAGES
    }


def _replicates(
    metric: Metric, arrays: tuple[np.ndarray, ...], groups: Any | None, resamples: int, seed: int
) -> np.ndarray:
    """(R,) values of the metric on resampled rows."""
    if not arrays or len({len(array) for array in arrays}) != 1:
        raise ValueError(f"arrays have lengths {[len(array) for array in arrays]}: one length is expected")
    index, count = group_index(groups, rows=len(arrays[0]))
    values = []
    for draws in group_draws(count, resamples, seed=seed, width=len(index)):
        for row in draws:
            rows = np.repeat(np.arange(len(index)), row[index])
            values.append(float(metric(*(array[rows] for array in arrays))))
    return np.array(values)


def _group_counts(decisions: np.ndarray, targets: np.ndarray, groups: Any | None) -> np.ndarray:
    """(G, 3, C): tp, decided and true of every group."""
    observed = as_multi_hot(targets, shape=np.shape(targets))
    decided = as_multi_hot(decisions, shape=observed.shape, name="decisions")
    if observed.ndim != 2:
        raise ValueError(f"targets have shape {observed.shape}: expected (utterances, labels)")
    index, count = group_index(groups, rows=len(observed))
    cells = np.stack([decided & observed, decided, observed], axis=1).astype(np.float64)
    if groups is None:
        return cells
    sums = np.zeros((count, *cells.shape[1:]))
    np.add.at(sums, index, cells)
    return sums


def _f1_replicates(counts: np.ndarray, resamples: int, seed: int) -> dict[F1Average, np.ndarray]:
    flat = counts.reshape(len(counts), -1)
    drawn = [draws @ flat for draws in group_draws(len(counts), resamples, seed=seed)]
    return _f1_averages(np.concatenate(drawn).reshape(resamples, *counts.shape[1:]))


def _f1_averages(counts: np.ndarray) -> dict[F1Average, np.ndarray]:
    """(R,) of each average from counts (R, 3, C)."""
    tp, decided, true = counts[:, 0], counts[:, 1], counts[:, 2]
    scores = f1(tp, decided - tp, true - tp)
    total = f1(tp.sum(axis=1), (decided - tp).sum(axis=1), (true - tp).sum(axis=1))
    return {
        "macro": scores.mean(axis=1),
        "micro": total,
        "weighted": safe_ratio((scores * true).sum(axis=1), true.sum(axis=1)),
    }
