"""From label log-likelihoods to calibrated probabilities.

A language model prefers some words independent of its input. Contextual calibration (Zhao et al. 2021)
scores a dialogue without content and subtracts the resulting log-probability of each label. A temperature
and a bias per label, fitted on dev, follow. The subtraction needs no gold labels, so it also applies without
a fit.

Shapes: B prompts, K labels.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np
from scipy.special import expit, log_softmax

from erc.errors import ArtefactError
from erc.llm.prompts.template import RenderedPrompt
from erc.llm.scoring.scores import LabelScorer, LabelScores
from erc.uncertainty.calibration import Calibrator, Temperature, load_calibrator
from erc.uncertainty.decomposition import categorical_entropy


@dataclass(frozen=True, slots=True)
class ContextualCalibrator:
    """Computes `after(log_likelihood - prior)`, from log-likelihoods (B, K) to probabilities (B, K).

    `prior` (K,) holds the labels' log-probabilities without content; `after` is a fitted calibrator.
    """

    labels: tuple[str, ...]
    prior: tuple[float, ...]
    after: Calibrator
    kind: ClassVar[str] = "contextual"

    def __post_init__(self) -> None:
        if len(self.labels) != len(self.prior):
            raise ValueError(f"{len(self.prior)} priors for {len(self.labels)} labels")

    @classmethod
    def fit(
        cls,
        labels: Sequence[str],
        log_likelihood: np.ndarray,
        targets: np.ndarray,
        *,
        prior: np.ndarray | None = None,
        bias: bool = True,
    ) -> ContextualCalibrator:
        """Fits temperature and bias on dev log-likelihoods, after subtracting `prior`.

        `log_likelihood` (B, K), label indices `targets` (B,), `prior` (K,) or None.
        """
        taken = np.zeros(len(labels)) if prior is None else np.asarray(prior, dtype=np.float64)
        after = Temperature.fit(_relative(log_likelihood, taken), targets, bias=bias)
        return cls(tuple(labels), tuple(map(float, taken)), after)

    @classmethod
    def of_prior(cls, labels: Sequence[str], prior: np.ndarray) -> ContextualCalibrator:
        """Subtracts `prior` (K,) only, where there is nothing to fit on."""
        return cls(tuple(labels), tuple(map(float, prior)), Temperature(1.0))

    def __call__(self, log_likelihood: np.ndarray) -> np.ndarray:
        """Probabilities (B, K)."""
        return self.after(_relative(log_likelihood, np.array(self.prior)))

    def calibrated(self, scores: LabelScores) -> LabelScores:
        """The scores with calibrated probabilities and entropy; unchanged for the score kind `none`.

        Raises:
            ArtefactError: the labels or their order differ from those it was fitted for.
        """
        if scores.labels != self.labels:
            raise ArtefactError(
                f"the calibrator was fitted for the labels {', '.join(self.labels)}, the scores are of "
                f"{', '.join(scores.labels)}"
            )
        if scores.score_kind == "none" or not len(scores):
            return scores
        probabilities = self(scores.log_likelihood)
        return replace(scores, probabilities=probabilities, entropy=categorical_entropy(probabilities))

    def to_dict(self) -> dict[str, Any]:
        """The JSON record."""
        return {
            "kind": self.kind,
            "version": 1,
            "labels": list(self.labels),
            "prior": list(self.prior),
            "after": self.after.to_dict(),
        }

    @classmethod
    def from_dict(cls, record: Mapping[str, Any]) -> ContextualCalibrator:
        """The calibrator of a record.

        Raises:
            ArtefactError: the record is of another kind or version, or unreadable.
        """
        if record.get("kind") != cls.kind or record.get("version") != 1:
            raise ArtefactError(
                f"a calibrator of kind {record.get('kind')!r}, version {record.get('version')!r}: expected "
                f"'{cls.kind}', version 1"
            )
        try:
            return cls(
                tuple(record["labels"]), tuple(map(float, record["prior"])), load_calibrator(record["after"])
            )
        except (KeyError, TypeError, ValueError) as error:
            raise ArtefactError(f"the contextual calibrator cannot be read: {error}") from None


@dataclass(frozen=True, slots=True)
class OddsPrior:
    """The log-odds (K,) of each label without content, subtracted when each label is scored separately."""

    prior: tuple[float, ...]

    def __call__(self, odds: np.ndarray) -> np.ndarray:
        """Probabilities (B, K) of log-odds (B, K); one half means no more than without content."""
        return expit(odds - np.array(self.prior))


def content_free_prior(
    scorer: LabelScorer, prompts: Sequence[RenderedPrompt], labels: Sequence[str]
) -> np.ndarray:
    """The model's log-probabilities (K,) of the labels without content: the mean over the prompts."""
    scores = scorer.score(prompts, labels)
    return np.log(np.maximum(scores.probabilities, 1e-12).mean(axis=0))


def _relative(log_likelihood: np.ndarray, prior: np.ndarray) -> np.ndarray:
    # Only differences between labels matter. Normalized values stay near 0, and a label missing from a
    # server's answer gets a finite, small value.
    return np.maximum(log_softmax(np.asarray(log_likelihood, dtype=np.float64), axis=1), -100.0) - prior
