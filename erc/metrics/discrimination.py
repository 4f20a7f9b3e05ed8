"""How well an uncertainty detects errors: AUROC and AUPR, with the share of errors.

Over all cells of a multi-label task, easy negatives inflate the AUROC. Cell-level figures are therefore also
given for ambiguous cells and for decided ones.

Shapes: B utterances, C labels.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from sklearn.metrics import average_precision_score, roc_auc_score

from erc.uncertainty.checks import as_multi_hot, as_vector

AMBIGUOUS = (0.05, 0.95)


@dataclass(frozen=True, slots=True)
class Discrimination:
    """AUROC and AUPR of finding errors.

    An uninformative score has 0.5 and `prevalence`. Both are None unless there are right and wrong decisions.
    """

    auroc: float | None
    aupr: float | None
    prevalence: float | None
    count: int

    def to_dict(self) -> dict[str, Any]:
        """The JSON form."""
        return asdict(self)


def error_discrimination(uncertainty: np.ndarray, errors: np.ndarray) -> Discrimination:
    """From uncertainties (B,) and booleans (B,) that mark errors; an utterance errs if any label does."""
    scores = as_vector(uncertainty, name="uncertainty")
    wrong = as_multi_hot(errors, shape=scores.shape, name="errors")
    count = len(wrong)
    if not wrong.any() or wrong.all():
        return Discrimination(None, None, float(wrong.mean()) if count else None, count)
    return Discrimination(
        float(roc_auc_score(wrong, scores)),
        float(average_precision_score(wrong, scores)),
        float(wrong.mean()),
        count,
    )


def cell_discrimination(
    uncertainty: np.ndarray, probabilities: np.ndarray, decisions: np.ndarray, targets: np.ndarray
) -> dict[str, Discrimination]:
    """From uncertainties (B, C): over `all` cells, `ambiguous` ones (p in [0.05, 0.95]), `decided` ones."""
    wrong = np.asarray(decisions).astype(bool) != np.asarray(targets).astype(bool)
    low, high = AMBIGUOUS
    chosen = {
        "all": np.ones(wrong.shape, dtype=bool),
        "ambiguous": (probabilities >= low) & (probabilities <= high),
        "decided": np.asarray(decisions).astype(bool),
    }
    return {
        name: error_discrimination(np.asarray(uncertainty)[mask], wrong[mask])
        for name, mask in chosen.items()
    }
