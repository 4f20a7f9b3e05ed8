"""Evaluators that a trainer calls on dev logits. One of the figures selects the checkpoint.

Shapes: B utterances, C labels.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from scipy.special import expit, log_softmax

from erc.metrics.scores import multilabel_scores, singlelabel_scores
from erc.uncertainty.calibration import Identity
from erc.uncertainty.checks import as_classes, as_matrix, as_multi_hot
from erc.uncertainty.counts import f1, label_counts
from erc.uncertainty.crossfit import cross_fitted
from erc.uncertainty.thresholds import LabelThresholds


@dataclass(frozen=True, slots=True)
class MultiLabelEvaluator:
    """Scores sigmoid logits (B, C) against multi-hot targets.

    The primary metric is macro-F1 at per-label thresholds that are cross-fitted on the same dev set. Early
    checkpoints and weighted losses shift the probabilities, so a threshold of 0.5 would select by the shift
    and not by the ranking.

    Attributes:
        labels: The C labels.
        groups: Dialogue ids of dev, kept together in a fold; None for utterances without dialogues.
        folds: Number of folds.
        seed: Seed of the folds.
        primary_metric: Name of the figure that selects the checkpoint.
        greater_is_better: Whether a larger value of it is better.
    """

    labels: tuple[str, ...]
    groups: Sequence[Any] | None = None
    folds: int = 5
    seed: int = 0
    primary_metric: ClassVar[str] = "macro_f1"
    greater_is_better: ClassVar[bool] = True

    def __call__(self, logits: np.ndarray, targets: np.ndarray) -> dict[str, float]:
        """Macro, micro, weighted and samples F1 with cross-fitted thresholds, F1 at 0.5, and loss.

        The loss is the mean over cells in nats. The keys are macro_f1, micro_f1, weighted_f1, samples_f1,
        macro_f1_at_half, micro_f1_at_half and loss.
        """
        values = as_matrix(logits, name="logits", columns=len(self.labels))
        observed = as_multi_hot(targets, shape=values.shape)
        fitted = cross_fitted(
            values,
            observed,
            groups=self.groups,
            folds=self.folds,
            seed=self.seed,
            calibrate=lambda *_: Identity("sigmoid"),
        )
        tuned = multilabel_scores(fitted.decisions, observed, labels=self.labels)
        counts = label_counts(LabelThresholds.constant(0.5, len(self.labels)).decide(expit(values)), observed)
        return {
            "macro_f1": tuned.macro.f1,
            "micro_f1": tuned.micro.f1,
            "weighted_f1": tuned.weighted.f1,
            "samples_f1": tuned.samples.f1,
            "macro_f1_at_half": float(f1(*counts).mean()),
            "micro_f1_at_half": float(f1(*(np.sum(count) for count in counts))),
            "loss": float((np.logaddexp(0.0, values) - values * observed).mean()),
        }


@dataclass(frozen=True, slots=True)
class SingleLabelEvaluator:
    """Scores softmax logits (B, C) against classes (B,); the primary metric is weighted F1."""

    labels: tuple[str, ...]
    primary_metric: ClassVar[str] = "weighted_f1"
    greater_is_better: ClassVar[bool] = True

    def __call__(self, logits: np.ndarray, targets: np.ndarray) -> dict[str, float]:
        """weighted_f1, macro_f1, accuracy, loss (mean over utterances, nats)."""
        values = as_matrix(logits, name="logits", columns=len(self.labels))
        classes = as_classes(targets, rows=values.shape[0], classes=values.shape[1])
        scores = singlelabel_scores(values.argmax(axis=1), classes, labels=self.labels)
        return {
            "weighted_f1": scores.weighted.f1,
            "macro_f1": scores.macro.f1,
            "accuracy": scores.accuracy,
            "loss": float(-log_softmax(values, axis=1)[np.arange(len(values)), classes].mean()),
        }
