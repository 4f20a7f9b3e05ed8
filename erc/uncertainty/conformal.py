"""Sets of labels with a guarantee: conformal prediction per class, and risk control of the false-negative rate.

Turns of one dialogue are not exchangeable, dialogues are. Both methods give each dialogue a total weight of
one, so the guarantee is for a random turn of a random *new dialogue* (hierarchical conformal prediction, Lee,
Barber and Willett 2023). Without groups every row is its own group, which is the textbook method. The
guarantee ends where dialogues stop being alike: another domain, or a memory that has drifted.

Shapes: B utterances, C labels, G groups.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from erc.errors import ArtefactError, InputError
from erc.uncertainty.checks import as_classes, as_multi_hot, as_probabilities, group_index
from erc.uncertainty.records import JsonDict, read_record, write_record


@dataclass(frozen=True, slots=True)
class ConformalSets:
    """Prediction sets for one label per utterance: class c is in the set where its probability is at least `thresholds[c]`.

    Least ambiguous set-valued classifier (Sadinle et al. 2019). With `mondrian` the coverage 1 - `alpha`
    holds for each class by itself, else on average over classes. A class with too few calibration groups
    (fewer than 1/alpha - 1) has the threshold 0 and stands in every set: the only honest answer. Sets may be
    empty.
    """

    thresholds: tuple[float, ...]
    alpha: float
    mondrian: bool
    kind: ClassVar[str] = "conformal-sets"

    @classmethod
    def fit(
        cls,
        probabilities: np.ndarray,
        targets: np.ndarray,
        *,
        alpha: float = 0.1,
        mondrian: bool = True,
        groups: Any | None = None,
    ) -> ConformalSets:
        """Calibrated on dev probabilities (B, C) and class indices (B,) that trained nothing."""
        _check_alpha(alpha)
        array = as_probabilities(probabilities)
        classes = as_classes(targets, rows=array.shape[0], classes=array.shape[1])
        index, _ = group_index(groups, rows=len(classes))
        true = array[np.arange(len(classes)), classes]
        if mondrian:
            limits = [
                _group_quantile(true[classes == c], index[classes == c], alpha) for c in range(array.shape[1])
            ]
        else:
            limits = [_group_quantile(true, index, alpha)] * array.shape[1]
        return cls(thresholds=tuple(limits), alpha=alpha, mondrian=mondrian)

    def sets(self, probabilities: np.ndarray) -> np.ndarray:
        """Booleans (B, C): which classes stand in each utterance's set."""
        array = as_probabilities(probabilities)
        if array.shape[1] != len(self.thresholds):
            raise ValueError(
                f"probabilities have {array.shape[1]} classes where the sets have {len(self.thresholds)}"
            )
        return array >= np.array(self.thresholds)

    def to_dict(self) -> JsonDict:
        """The JSON record."""
        return write_record(
            self.kind,
            1,
            {"thresholds": list(self.thresholds), "alpha": self.alpha, "mondrian": self.mondrian},
        )

    @classmethod
    def from_dict(cls, record: Mapping[str, Any]) -> ConformalSets:
        """The sets of a record; ArtefactError if it cannot be read."""
        read = read_record(record, kind=cls.kind, version=1, fields=("thresholds", "alpha", "mondrian"))
        try:
            return cls(
                thresholds=tuple(map(float, read["thresholds"])),
                alpha=float(read["alpha"]),
                mondrian=bool(read["mondrian"]),
            )
        except (TypeError, ValueError) as error:
            raise ArtefactError(f"{cls.kind} cannot be read: {error}") from error


@dataclass(frozen=True, slots=True)
class FalseNegativeControl:
    """Label sets whose expected share of missed true labels is at most `alpha`: every label with probability >= `threshold`.

    Conformal risk control (Angelopoulos et al. 2024) of the false-negative rate, which falls as the threshold
    falls.
    """

    threshold: float
    alpha: float
    kind: ClassVar[str] = "false-negative-control"

    @classmethod
    def fit(
        cls, probabilities: np.ndarray, targets: np.ndarray, *, alpha: float = 0.1, groups: Any | None = None
    ) -> FalseNegativeControl:
        """Calibrated on dev probabilities and multi-hot targets (B, C) that trained nothing.

        Takes the largest threshold with `G/(G+1) * mean over groups of the false-negative rate + 1/(G+1) <=
        alpha`. The rate only steps at the probabilities of true labels, so the search is exact. An utterance
        without true labels misses none. InputError with fewer than 1/alpha - 1 groups: not even the set of
        all labels could be certified.
        """
        _check_alpha(alpha)
        array = as_probabilities(probabilities)
        observed = as_multi_hot(targets, shape=array.shape)
        index, count = group_index(groups, rows=len(array))
        if 1.0 / (count + 1) > alpha + 1e-12:
            raise InputError(
                f"alpha={alpha} needs at least {int(np.ceil(1 / alpha - 1e-9)) - 1} groups to calibrate on, there are {count}"
            )
        rows, _ = np.nonzero(observed)
        # Each missed cell costs 1/(labels of its utterance) / (turns of its group) / (G + 1) of the bound.
        cost = 1.0 / (
            observed.sum(axis=1)[rows] * np.bincount(index, minlength=count)[index[rows]] * (count + 1.0)
        )
        scores = array[observed]
        order = np.argsort(scores)
        levels, first = np.unique(scores[order], return_index=True)
        missed = np.concatenate(([0.0], np.cumsum(cost[order])))[
            first
        ]  # at the threshold levels[k]: everything below it
        allowed = levels[missed + 1.0 / (count + 1) <= alpha + 1e-12]
        return cls(threshold=float(allowed.max(initial=0.0)), alpha=alpha)

    def sets(self, probabilities: np.ndarray) -> np.ndarray:
        """Booleans (B, C): which labels stand in each utterance's set."""
        return as_probabilities(probabilities) >= self.threshold

    def to_dict(self) -> JsonDict:
        """The JSON record."""
        return write_record(self.kind, 1, {"threshold": self.threshold, "alpha": self.alpha})

    @classmethod
    def from_dict(cls, record: Mapping[str, Any]) -> FalseNegativeControl:
        """The control of a record; ArtefactError if it cannot be read."""
        read = read_record(record, kind=cls.kind, version=1, fields=("threshold", "alpha"))
        try:
            return cls(threshold=float(read["threshold"]), alpha=float(read["alpha"]))
        except (TypeError, ValueError) as error:
            raise ArtefactError(f"{cls.kind} cannot be read: {error}") from error


def false_negative_rate(sets: np.ndarray, targets: np.ndarray) -> np.ndarray:
    """(B,): the share of an utterance's true labels that its set (B, C) misses; 0 where it has none."""
    observed = as_multi_hot(targets, shape=np.shape(sets))
    true = observed.sum(axis=1)
    return np.where(true == 0, 0.0, (observed & ~np.asarray(sets)).sum(axis=1) / np.maximum(true, 1))


def _check_alpha(alpha: float) -> None:
    if not 0.0 < alpha < 1.0:
        raise InputError(f"alpha={alpha}: expected a share between 0 and 1")


def _group_quantile(scores: np.ndarray, groups: np.ndarray, alpha: float) -> float:
    """The largest threshold t with weighted share of scores below t at most alpha, one further group lying below everything.

    A score of a group with n of them weighs 1/(n (G + 1)); the weight 1/(G + 1) of the new group counts as
    missed.
    """
    if not len(scores):
        return 0.0
    _, index, sizes = np.unique(groups, return_inverse=True, return_counts=True)
    count = len(sizes)
    order = np.argsort(scores)
    levels, first = np.unique(scores[order], return_index=True)
    below = np.concatenate(([0.0], np.cumsum(1.0 / (sizes[index[order]] * (count + 1.0)))))[first]
    return float(levels[below + 1.0 / (count + 1) <= alpha + 1e-12].max(initial=0.0))
