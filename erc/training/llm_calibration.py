"""What a trained adapter's scores mean: the calibrator, and the policies that say which turns go to a person, fitted on dev."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from erc.data import Conversation
from erc.emotions import load_emotion_map, load_emotion_set
from erc.errors import ConfigError
from erc.llm.calibration import ContextualCalibrator
from erc.training.policies import fit_policy

_REPORTED = ("ekman", "sentiment")


def turn_groups(conversations: Sequence[Conversation], labels: Sequence[str]) -> np.ndarray:
    """The number of its dialogue for every turn with one gold label of the set, in the order in which examples are made; shape (N,)."""
    return np.array([number for number, talk in enumerate(conversations) for turn in talk if len(turn.emotions) == 1 and turn.emotions[0] in labels])


def fit_policies(log_likelihood: np.ndarray, targets: np.ndarray, groups: np.ndarray, *, label_set: str, prior: np.ndarray) -> dict[str, Any]:
    """The record of a policy for each set the adapter can be reported in; empty with fewer than two dialogues.

    Confidence is that of a calibrator fitted on the other half of the dialogues: one that has seen a turn is too sure of it.
    `log_likelihood` (N, K), `targets` (N,), `groups` (N,), `prior` (K,).
    """
    emotions = load_emotion_set(label_set)
    halves = np.searchsorted(np.unique(groups), groups) % 2
    if len(np.unique(halves)) < 2:
        return {}
    own = np.empty(log_likelihood.shape)
    for half in (0, 1):
        fitted = ContextualCalibrator.fit(emotions.labels, log_likelihood[halves != half], targets[halves != half], prior=prior)
        own[halves == half] = fitted(log_likelihood[halves == half])
    policies = {}
    rows = np.arange(len(own))
    for name in dict.fromkeys((label_set, *_REPORTED)):
        try:
            emotion_map = load_emotion_map(label_set, name)
        except ConfigError:
            continue
        probabilities, gold = emotion_map.apply(own), emotion_map.apply(np.eye(len(emotions))[targets])
        best = probabilities.argmax(axis=1)
        policies[name] = fit_policy(probabilities[rows, best], gold[rows, best] < 0.5, groups=groups).to_dict()
    return policies
