"""F1 of the kept utterances if the most uncertain ones are rejected, compared with random rejection.

Whole utterances are rejected, never single labels: dropping single labels raises the F1 of any calibrated
model, whether its uncertainty is informative or not. Macro-F1 under rejection is not monotone. It can rise
only because rare labels have no utterances left, so the curve also has the supports. To compare uncertainty
scores, use the figures of `erc.uncertainty.selective`.

Shapes: B utterances, C labels, P points.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from erc.uncertainty.checks import as_multi_hot, as_vector
from erc.uncertainty.counts import f1
from erc.uncertainty.selective import keep_most_certain

COVERAGES = (1.0, 0.95, 0.9, 0.85, 0.8, 0.75, 0.7, 0.65, 0.6, 0.55, 0.5)


@dataclass(frozen=True, slots=True, eq=False)
class RejectionCurve:
    """Figures at falling coverage.

    Macro F1 is over the labels that have a positive among all utterances: the same labels at every point.

    Attributes:
        coverage: Share of kept utterances, (P,).
        macro_f1: Macro F1 of the kept utterances, (P,).
        micro_f1: Micro F1 of the kept utterances, (P,).
        supports: Positives of each label among the kept utterances, (P, C).
        random_macro_f1: Mean macro F1 over random rejections, (P,).
        random_micro_f1: Mean micro F1 over random rejections, (P,).
    """

    coverage: np.ndarray
    macro_f1: np.ndarray
    micro_f1: np.ndarray
    supports: np.ndarray
    random_macro_f1: np.ndarray
    random_micro_f1: np.ndarray

    def to_dict(self) -> dict[str, Any]:
        """The JSON form: lists in place of arrays."""
        return {name: getattr(self, name).tolist() for name in self.__slots__}


def rejection_curve(
    uncertainty: np.ndarray,
    decisions: np.ndarray,
    targets: np.ndarray,
    *,
    coverages: Sequence[float] = COVERAGES,
    permutations: int = 20,
    seed: int = 0,
) -> RejectionCurve:
    """The curve of uncertainties (B,), boolean decisions and multi-hot targets (B, C).

    Convert the classes of a single-label model with `erc.uncertainty.counts.one_hot`. Utterances that tie
    with the last kept one are kept.

    Raises:
        ValueError: For arrays of other shapes or values.
    """
    scores = as_vector(uncertainty, name="uncertainty")
    observed = as_multi_hot(targets, shape=np.shape(targets))
    decided = as_multi_hot(decisions, shape=observed.shape, name="decisions")
    if observed.ndim != 2 or len(scores) != len(observed):
        raise ValueError(f"uncertainty has {len(scores)} rows, targets have shape {observed.shape}")
    cells = np.stack([decided & observed, decided & ~observed, ~decided & observed], axis=1).astype(
        np.float64
    )
    supported = np.asarray(observed.any(axis=0))

    masks = keep_most_certain(scores, coverages)
    kept = np.array([int(mask.sum()) for mask in masks])
    points = np.array([_figures(cells[mask].sum(axis=0), supported) for mask in masks])

    rng = np.random.default_rng(seed)
    random = np.zeros((len(kept), 2))
    for _ in range(permutations):
        running = cells[rng.permutation(len(cells))].cumsum(axis=0)
        random += [_figures(running[size - 1], supported) for size in kept]
    random /= permutations
    return RejectionCurve(
        coverage=kept / len(scores),
        macro_f1=points[:, 0],
        micro_f1=points[:, 1],
        supports=np.array([observed[mask].sum(axis=0) for mask in masks]),
        random_macro_f1=random[:, 0],
        random_micro_f1=random[:, 1],
    )


def _figures(counts: np.ndarray, supported: np.ndarray) -> tuple[float, float]:
    """(macro-F1 over supported labels, micro-F1) of counts (3, C): tp, fp, fn."""
    macro = f1(*counts[:, supported]).mean() if supported.any() else 0.0
    return float(macro), float(f1(*counts.sum(axis=1)))
