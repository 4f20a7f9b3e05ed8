"""Turns a language model's scores into probabilities.

For a set of exclusive emotions a turn has one prompt, and labels are scored against each other. For a
multi-label set it has one prompt per label, answered yes or no.

Shapes: U turns, K labels of the model, C emotions reported, S samples.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.special import expit

from erc.emotions import EmotionMap
from erc.llm.prompts.template import RenderedPrompt
from erc.llm.scoring.calibration import ContextualCalibrator, OddsPrior
from erc.llm.scoring.scores import LabelScorer, LabelScores, yes_no_odds
from erc.uncertainty.decomposition import (
    Uncertainty,
    binary_entropy,
    categorical_decomposition,
    categorical_entropy,
)

Asked = Sequence[tuple[RenderedPrompt, ...]]
"""The prompts of each turn: one, or one per label."""
BOUNDED = "-bounded"
"""Suffix of a score kind if some label has only an upper bound."""
_TURNS_AT_ONCE = 64
"""Turns scored at a time, each with one prompt per label."""


@dataclass(frozen=True, slots=True, eq=False)
class LabelBelief:
    """Probabilities (U, C), their uncertainty (U,), and the kind of each turn's scores."""

    probabilities: np.ndarray
    uncertainty: Uncertainty
    kinds: tuple[str, ...] = ()


def belief_in_one(
    backend: LabelScorer,
    prompts: Sequence[RenderedPrompt],
    labels: Sequence[str],
    *,
    calibrator: ContextualCalibrator | None,
    to: EmotionMap,
    samples: int = 0,
    seed: int = 0,
) -> LabelBelief:
    """Probabilities over exclusive `labels`, mapped to the target set of `to`.

    With `samples` > 0, that many Monte-Carlo samples are drawn with `seed`.
    """

    def calibrated(scores: LabelScores) -> LabelScores:
        return scores if calibrator is None else calibrator.calibrated(scores)

    if not prompts:
        return _nothing(to)
    scores = calibrated(backend.score(prompts, labels))
    probabilities = to.apply(scores.probabilities)
    if not samples:
        # A bare choice has no probabilities; reporting entropy 0 would be wrong.
        total = (
            np.full(len(prompts), np.nan)
            if scores.score_kind == "none"
            else categorical_entropy(probabilities)
        )
        return LabelBelief(probabilities, _unsampled(total), _kinds(scores))
    drawn = backend.sample(prompts, labels, seed=seed, samples=samples)  # type: ignore[attr-defined]
    sampled = np.stack([calibrated(LabelScores.of(labels, draw)).probabilities for draw in drawn])
    return LabelBelief(probabilities, categorical_decomposition(to.apply(sampled)), _kinds(scores))


def belief_in_each(
    backend: LabelScorer, asked: Asked, *, prior: OddsPrior | None, to: EmotionMap
) -> LabelBelief:
    """Probabilities of independent labels; `asked` has one prompt per label and turn."""
    if not asked:
        return _nothing(to)
    parts, kinds = [], []
    for first in range(0, len(asked), _TURNS_AT_ONCE):
        odds, kind = yes_no_odds(backend, asked[first : first + _TURNS_AT_ONCE])
        parts.append(expit(odds) if prior is None else prior(odds))
        kinds.append(kind)
    probabilities = to.apply(np.concatenate(parts))
    return LabelBelief(
        probabilities, _unsampled(binary_entropy(probabilities).sum(axis=-1)), (kinds[0],) * len(asked)
    )


def _kinds(scores: LabelScores) -> tuple[str, ...]:
    return tuple(
        f"{scores.score_kind}{BOUNDED}" if bounded else scores.score_kind for bounded in scores.truncated
    )


def _nothing(to: EmotionMap) -> LabelBelief:
    return LabelBelief(np.zeros((0, len(to.target))), _unsampled(np.zeros(0)))


def _unsampled(total: np.ndarray) -> Uncertainty:
    unknown = np.full(len(total), np.nan)
    return Uncertainty(total=total, aleatoric=unknown, epistemic=unknown)
