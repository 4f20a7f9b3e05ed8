"""A confusion matrix for multi-label decisions: which label is decided when another is true.

Shapes: B utterances, C labels.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from erc.uncertainty.checks import as_multi_hot
from erc.uncertainty.counts import safe_ratio


@dataclass(frozen=True, slots=True)
class ConfusedPair:
    """A label `decided` instead of `true`, in `share` of the `count` utterances that have only `true`."""

    true: str
    decided: str
    share: float
    count: int


def cooccurrence_confusion(
    decisions: np.ndarray, targets: np.ndarray, *, only_errors: bool = False
) -> np.ndarray:
    """Confusion of labels (C, C) when several can be true; the diagonal is the recall.

    Entry [i, j] is the share of utterances with true label i for which label j was decided. Labels that are
    often true together have off-diagonal entries without an error. With `only_errors`, utterances that also
    have label j are left out of [i, j]. Rows without support are 0.
    """
    observed = as_multi_hot(targets, shape=np.shape(targets)).astype(np.float64)
    decided = as_multi_hot(decisions, shape=observed.shape, name="decisions").astype(np.float64)
    counts, support = (
        observed.T @ decided,
        np.broadcast_to(observed.sum(axis=0)[:, None], (observed.shape[1],) * 2),
    )
    if not only_errors:
        return safe_ratio(counts, support)
    false, absent = observed.T @ (decided * (1 - observed)), observed.T @ (1 - observed)
    matrix = safe_ratio(false, absent)
    np.fill_diagonal(matrix, np.diag(safe_ratio(counts, support)))
    return matrix


def confused_pairs(
    decisions: np.ndarray,
    targets: np.ndarray,
    *,
    labels: Sequence[str],
    limit: int = 10,
    least_count: int = 3,
) -> tuple[ConfusedPair, ...]:
    """The pairs with the largest share of wrong decisions; pairs below `least_count` errors are left out."""
    observed = as_multi_hot(targets, shape=(len(np.asarray(targets)), len(labels)))
    decided = as_multi_hot(decisions, shape=observed.shape, name="decisions")
    counts = observed.T.astype(int) @ (decided & ~observed).astype(int)
    shares = cooccurrence_confusion(decided, observed, only_errors=True)
    pairs = [
        ConfusedPair(labels[i], labels[j], float(shares[i, j]), int(counts[i, j]))
        for i, j in np.argwhere(counts >= max(least_count, 1))
        if i != j
    ]
    return tuple(sorted(pairs, key=lambda pair: (-pair.share, pair.true, pair.decided))[:limit])
