"""Fits decision policies on a trained adapter's calibrated dev scores."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np

from erc.emotions import load_emotion_map, load_emotion_set
from erc.errors import ConfigError
from erc.llm.scoring.calibration import ContextualCalibrator
from erc.training.post_fit import fit_policy
from erc.uncertainty.crossfit import cross_fitted_classes

_REPORTED = ("ekman", "sentiment")


def fit_policies(
    log_likelihood: np.ndarray, targets: np.ndarray, groups: np.ndarray, *, label_set: str, prior: np.ndarray
) -> dict[str, Any]:
    """The record of a decision policy for each label set that can be reported.

    Confidence comes from a calibrator fitted on other dialogues, because a calibrator is overconfident on
    turns that it was fitted on. The result is empty for fewer than two dialogues.

    Args:
        log_likelihood: Scores of the labels, (N, K).
        targets: Index of the right label, (N,).
        groups: The dialogue of each turn, (N,).
        label_set: Name of the label set.
        prior: Scores of the labels without content, (K,).
    """
    emotions = load_emotion_set(label_set)
    dialogues = len(np.unique(groups))
    if dialogues < 2:
        return {}
    fit = partial(ContextualCalibrator.fit, emotions.labels, prior=prior)
    folds = cross_fitted_classes(
        log_likelihood,
        targets,
        groups=groups,
        folds=min(5, dialogues),
        calibrate=fit,  # type: ignore[arg-type]
    )
    policies = {}
    rows = np.arange(len(targets))
    for name in dict.fromkeys((label_set, *_REPORTED)):
        try:
            emotion_map = load_emotion_map(label_set, name)
        except ConfigError:
            continue
        probabilities, gold = (
            emotion_map.apply(folds.probabilities),
            emotion_map.apply(np.eye(len(emotions))[targets]),
        )
        best = probabilities.argmax(axis=1)
        policies[name] = fit_policy(
            probabilities[rows, best], gold[rows, best] < 0.5, groups=groups
        ).to_dict()
    return policies
