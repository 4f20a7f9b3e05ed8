"""Out-of-fold probabilities and decisions, to report on dev what is fitted on dev.

The calibrator and the thresholds are fitted on all folds but one and applied to the held-out fold. All turns
of a dialogue are in the same fold.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from sklearn.model_selection import GroupKFold, KFold, StratifiedGroupKFold

from erc.uncertainty.calibration import Calibrator, PerLabelPlatt, Temperature
from erc.uncertainty.checks import as_classes, as_matrix, as_multi_hot, group_index
from erc.uncertainty.thresholds import LabelThresholds, fit_thresholds

FitCalibrator = Callable[[np.ndarray, np.ndarray], Calibrator]
FitThresholds = Callable[[np.ndarray, np.ndarray], LabelThresholds]


@dataclass(frozen=True, slots=True, eq=False)
class CrossFitted:
    """Out-of-fold results.

    `probabilities` are (B, C), `decisions` (B, C) booleans or (B,) classes, `fold` (B,) is the held-out fold.
    """

    probabilities: np.ndarray
    decisions: np.ndarray
    fold: np.ndarray


def assign_folds(
    targets: np.ndarray, *, groups: Any | None = None, folds: int = 5, seed: int = 0
) -> np.ndarray:
    """The fold (B,) of every row, numbered from 0; drawn with `seed`.

    Without groups, folds are shuffled and of equal size. With groups (dialogue ids), a fold has whole groups.
    Class indices (B,) are then also stratified as far as the dialogues allow, unless a class has fewer
    members than there are folds.

    Raises:
        ValueError: For fewer than 2 folds, or more folds than rows or groups.
    """
    labels = np.asarray(targets)
    index, count = group_index(groups, rows=len(labels))
    if not 2 <= folds <= count:
        raise ValueError(
            f"folds={folds}: expected at least 2 and at most the {count} "
            f"{'rows' if groups is None else 'groups'} there are"
        )
    splitter: Any
    if groups is None:
        splitter = KFold(folds, shuffle=True, random_state=seed)
    elif labels.ndim == 1 and np.unique(labels, return_counts=True)[1].min() >= folds:
        splitter = StratifiedGroupKFold(folds, shuffle=True, random_state=seed)
    else:
        splitter = GroupKFold(folds, shuffle=True, random_state=seed)
    assigned = np.empty(len(labels), dtype=np.int64)
    strata = labels if labels.ndim == 1 else None
    for number, (_, held) in enumerate(
        splitter.split(np.zeros(len(labels)), strata, None if groups is None else index)
    ):
        assigned[held] = number
    return assigned


def cross_fitted(
    logits: np.ndarray,
    targets: np.ndarray,
    *,
    groups: Any | None = None,
    folds: int = 5,
    seed: int = 0,
    calibrate: FitCalibrator = PerLabelPlatt.fit,
    threshold: FitThresholds = fit_thresholds,
) -> CrossFitted:
    """Multi-label: calibrator and thresholds fitted on the other folds; logits and targets are (B, C).

    Raises:
        ValueError: For arrays of other shapes or ranges, or a number of folds that `assign_folds` refuses.
    """
    values = as_matrix(logits, name="logits")
    observed = as_multi_hot(targets, shape=values.shape)
    fold = assign_folds(observed, groups=groups, folds=folds, seed=seed)
    probabilities, decisions = np.empty(values.shape), np.empty(values.shape, dtype=bool)
    for number in range(folds):
        held = fold == number
        calibrator = calibrate(values[~held], observed[~held])
        thresholds = threshold(calibrator(values[~held]), observed[~held])
        probabilities[held] = calibrator(values[held])
        decisions[held] = thresholds.decide(probabilities[held])
    return CrossFitted(probabilities=probabilities, decisions=decisions, fold=fold)


def cross_fitted_classes(
    logits: np.ndarray,
    targets: np.ndarray,
    *,
    groups: Any | None = None,
    folds: int = 5,
    seed: int = 0,
    calibrate: FitCalibrator = Temperature.fit,
) -> CrossFitted:
    """Single-label: as `cross_fitted` with class indices (B,); the decision is the most probable class.

    Raises:
        ValueError: For arrays of other shapes or ranges, or a number of folds that `assign_folds` refuses.
    """
    values = as_matrix(logits, name="logits")
    classes = as_classes(targets, rows=values.shape[0], classes=values.shape[1])
    fold = assign_folds(classes, groups=groups, folds=folds, seed=seed)
    probabilities = np.empty(values.shape)
    for number in range(folds):
        held = fold == number
        probabilities[held] = calibrate(values[~held], classes[~held])(values[held])
    return CrossFitted(probabilities=probabilities, decisions=probabilities.argmax(axis=1), fold=fold)
