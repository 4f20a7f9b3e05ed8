"""Which label is decided when another is true: a confusion matrix for multi-label decisions.

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
    """`decided` stands at `share` of the utterances whose true labels hold `true` and not `decided` (`count` of them)."""

    true: str
    decided: str
    share: float
    count: int


def cooccurrence_confusion(
    decisions: np.ndarray, targets: np.ndarray, *, only_errors: bool = False
) -> np.ndarray:
    """(C, C): entry [i, j] is the share of utterances with true label i at which label j was decided; the diagonal is the recall.

    Two labels that are often true together show off the diagonal although nothing is wrong. With
    `only_errors`, utterances at which j is true as well are left out of both the numerator and the
    denominator of [i, j]; the diagonal stays the recall. Rows without support are 0.
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
    """The pairs with the largest share of wrong decisions, largest first; fewer than `least_count` errors are no pattern."""
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
