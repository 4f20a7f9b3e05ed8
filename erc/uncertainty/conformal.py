"""Prediction sets with a guarantee: conformal prediction, and control of missed labels.

Turns of one dialogue are not exchangeable, dialogues are. Both methods give every dialogue a total weight of
one. Their guarantee is then for a random turn of a random new dialogue (hierarchical conformal prediction,
Lee, Barber and Willett 2023). Without groups every row is its own group, which is the textbook method. The
guarantee needs new dialogues like the calibration dialogues; it does not hold for another domain.

Shapes: B utterances, C labels, G groups.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from erc.errors import InputError
from erc.uncertainty.checks import as_classes, as_multi_hot, as_probabilities, group_index
from erc.uncertainty.counts import one_hot

ALPHA = 0.1
"""Share of misses that the reported sets allow."""


@dataclass(frozen=True, slots=True)
class ConformalSets:
    """Prediction sets: class c is in the set if its probability is at least `thresholds[c]`.

    Least ambiguous set-valued classifier (Sadinle et al. 2019). The coverage 1 - `alpha` holds for each
    class. A class with fewer than 1/alpha - 1 calibration groups has threshold 0 and is in every set. Sets
    may be empty.
    """

    thresholds: tuple[float, ...]
    alpha: float

    @classmethod
    def fit(
        cls,
        probabilities: np.ndarray,
        targets: np.ndarray,
        *,
        alpha: float = ALPHA,
        groups: Any | None = None,
    ) -> ConformalSets:
        """Fits the sets on probabilities (B, C) and class indices (B,) of data not used for training.

        Raises:
            InputError: For an `alpha` outside (0, 1).
            ValueError: For arrays of other shapes or ranges.
        """
        _check_alpha(alpha)
        array = as_probabilities(probabilities)
        classes = as_classes(targets, rows=array.shape[0], classes=array.shape[1])
        index, _ = group_index(groups, rows=len(classes))
        true = array[np.arange(len(classes)), classes]
        limits = [
            _group_quantile(true[classes == c], index[classes == c], alpha) for c in range(array.shape[1])
        ]
        return cls(thresholds=tuple(limits), alpha=alpha)

    def sets(self, probabilities: np.ndarray) -> np.ndarray:
        """Booleans (B, C): the classes in each utterance's set.

        Raises:
            ValueError: For probabilities over another number of classes.
        """
        array = as_probabilities(probabilities)
        if array.shape[1] != len(self.thresholds):
            raise ValueError(
                f"probabilities have {array.shape[1]} classes where the sets have {len(self.thresholds)}"
            )
        return array >= np.array(self.thresholds)


@dataclass(frozen=True, slots=True)
class FalseNegativeControl:
    """Sets of labels whose expected share of missed true labels is at most `alpha`.

    A set has every label with probability >= `threshold`. Conformal risk control (Angelopoulos et al. 2024)
    of the false-negative rate, which falls with the threshold.
    """

    threshold: float
    alpha: float

    @classmethod
    def fit(
        cls,
        probabilities: np.ndarray,
        targets: np.ndarray,
        *,
        alpha: float = ALPHA,
        groups: Any | None = None,
    ) -> FalseNegativeControl:
        """Fits the threshold on probabilities and multi-hot targets (B, C) of data not used for training.

        Takes the largest threshold with
        `G/(G+1) * mean over groups of the false-negative rate + 1/(G+1) <= alpha`. The rate changes only at
        the probabilities of true labels, so the search is exact. An utterance without true labels misses
        none.

        Raises:
            InputError: For an `alpha` outside (0, 1), or fewer than 1/alpha - 1 groups: not even the set of
                all labels has the guarantee then.
            ValueError: For arrays of other shapes or ranges.
        """
        _check_alpha(alpha)
        array = as_probabilities(probabilities)
        observed = as_multi_hot(targets, shape=array.shape)
        index, count = group_index(groups, rows=len(array))
        if 1.0 / (count + 1) > alpha + 1e-12:
            raise InputError(
                f"alpha={alpha} needs at least {int(np.ceil(1 / alpha - 1e-9)) - 1} groups to calibrate on, "
                f"there are {count}"
            )
        rows, _ = np.nonzero(observed)
        # Each missed cell adds 1/(labels of its utterance) / (turns of its group) / (G + 1) to the bound.
        cost = 1.0 / (
            observed.sum(axis=1)[rows] * np.bincount(index, minlength=count)[index[rows]] * (count + 1.0)
        )
        scores = array[observed]
        order = np.argsort(scores)
        levels, first = np.unique(scores[order], return_index=True)
        # missed[k]: the bound at the threshold levels[k], which misses everything below it.
        missed = np.concatenate(([0.0], np.cumsum(cost[order])))[first]
        allowed = levels[missed + 1.0 / (count + 1) <= alpha + 1e-12]
        return cls(threshold=float(allowed.max(initial=0.0)), alpha=alpha)

    def sets(self, probabilities: np.ndarray) -> np.ndarray:
        """Booleans (B, C): the labels in each utterance's set.

        Raises:
            ValueError: For an array that holds no probabilities (B, C).
        """
        return as_probabilities(probabilities) >= self.threshold


@dataclass(frozen=True, slots=True)
class SetScores:
    """Scores of cross-fitted prediction sets.

    Attributes:
        alpha: The share of misses that the sets allow.
        coverage: Share of true labels in the sets, with equal weight for every group.
        mean_size: Mean number of labels in a set.
        empty: Share of empty sets.
    """

    alpha: float
    coverage: float
    mean_size: float
    empty: float

    def to_dict(self) -> dict[str, float]:
        """The JSON form."""
        return asdict(self)


def cross_fitted_sets(
    probabilities: np.ndarray,
    targets: np.ndarray,
    fold: np.ndarray,
    *,
    groups: Any | None = None,
    alpha: float = ALPHA,
) -> SetScores | None:
    """Scores of sets for each fold, fitted on the other folds; None with too few groups to fit them on.

    `targets` are class indices (B,) for `ConformalSets` or multi-hot (B, C) for `FalseNegativeControl`.
    `fold` (B,) keeps groups whole. `probabilities` (B, C) must not come from anything fitted on these rows.

    Raises:
        InputError: For an `alpha` outside (0, 1).
        ValueError: For arrays of other shapes or ranges.
    """
    _check_alpha(alpha)
    array, truth = as_probabilities(probabilities), np.asarray(targets)
    index, _ = group_index(groups, rows=len(array))
    sets = np.zeros(array.shape, dtype=bool)
    for number in np.unique(fold):
        held = fold == number
        if 1.0 / (len(np.unique(index[~held])) + 1) > alpha + 1e-12:
            return None
        kind = ConformalSets if truth.ndim == 1 else FalseNegativeControl
        fitted = kind.fit(array[~held], truth[~held], alpha=alpha, groups=index[~held])
        sets[held] = fitted.sets(array[held])
    observed = one_hot(truth, array.shape[1]) if truth.ndim == 1 else truth.astype(bool)
    missed = np.bincount(index, weights=_missed_share(sets, observed)) / np.bincount(index)
    sizes = sets.sum(axis=1)
    return SetScores(
        alpha=alpha,
        coverage=float(1.0 - missed.mean()),
        mean_size=float(sizes.mean()),
        empty=float((sizes == 0).mean()),
    )


def _missed_share(sets: np.ndarray, observed: np.ndarray) -> np.ndarray:
    """(B,): the share of an utterance's true labels that its set misses; 0 for one without true labels."""
    true = observed.sum(axis=1)
    return np.where(true == 0, 0.0, (observed & ~sets).sum(axis=1) / np.maximum(true, 1))


def _check_alpha(alpha: float) -> None:
    if not 0.0 < alpha < 1.0:
        raise InputError(f"alpha={alpha}: expected a share between 0 and 1")


def _group_quantile(scores: np.ndarray, groups: np.ndarray, alpha: float) -> float:
    """The largest threshold with a weighted share of at most `alpha` scores below it.

    A score of a group with n scores has the weight 1/(n (G + 1)). The new group has the weight 1/(G + 1) and
    counts as missed.
    """
    if not len(scores):
        return 0.0
    _, index, sizes = np.unique(groups, return_inverse=True, return_counts=True)
    count = len(sizes)
    order = np.argsort(scores)
    levels, first = np.unique(scores[order], return_index=True)
    below = np.concatenate(([0.0], np.cumsum(1.0 / (sizes[index[order]] * (count + 1.0)))))[first]
    return float(levels[below + 1.0 / (count + 1) <= alpha + 1e-12].max(initial=0.0))
