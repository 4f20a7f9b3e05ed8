"""Decomposes the entropy of Monte-Carlo samples into aleatoric and epistemic parts.

total = H(mean over samples), aleatoric = mean over samples of H, epistemic = total - aleatoric. The epistemic
part is the mutual information between the label and the model's weights (Depeweg et al. 2018). All entropies
are in nats. The epistemic part is biased low for few samples, and says little about errors inside the
training domain. So `total` is the primary number.

Shapes: S samples, B utterances, C labels.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.special import entr

from erc.uncertainty.checks import as_probabilities


@dataclass(frozen=True, slots=True, eq=False)
class Uncertainty:
    """Three read-only float64 arrays of one shape, in nats.

    `total == aleatoric + epistemic` and `epistemic >= 0`.

    Raises:
        ValueError: If the shapes differ.
    """

    total: np.ndarray
    aleatoric: np.ndarray
    epistemic: np.ndarray

    def __post_init__(self) -> None:
        for name in ("total", "aleatoric", "epistemic"):
            frozen = np.array(getattr(self, name), dtype=np.float64)
            if frozen.shape != np.shape(self.total):
                raise ValueError(f"{name} has shape {frozen.shape} where total has {np.shape(self.total)}")
            frozen.flags.writeable = False
            object.__setattr__(self, name, frozen)

    def utterance(self) -> Uncertainty:
        """The sum over labels: (B, C) per label becomes (B,) per utterance.

        The sum treats labels as independent given the weights, as a multi-label head of sigmoids does.
        """
        return Uncertainty(self.total.sum(axis=-1), self.aleatoric.sum(axis=-1), self.epistemic.sum(axis=-1))


def binary_entropy(probabilities: np.ndarray) -> np.ndarray:
    """H(p) = -p ln p - (1-p) ln(1-p) element-wise, 0 at p = 0 and 1, at most ln 2."""
    values = np.asarray(probabilities, dtype=np.float64)
    return entr(values) + entr(1.0 - values)


def categorical_entropy(probabilities: np.ndarray) -> np.ndarray:
    """-sum p ln p over the last axis; at most ln C."""
    return entr(np.asarray(probabilities, dtype=np.float64)).sum(axis=-1)


def binary_decomposition(probabilities: np.ndarray) -> Uncertainty:
    """Per-label uncertainty (B, C) of sigmoid samples (S, B, C); `.utterance()` sums it over labels.

    One sample gives an epistemic part of exactly 0.

    Raises:
        ValueError: For no samples, or an array that holds no probabilities (S, B, C).
    """
    samples = _samples(probabilities)
    return _split(binary_entropy(samples.mean(axis=0)), binary_entropy(samples).mean(axis=0))


def categorical_decomposition(probabilities: np.ndarray) -> Uncertainty:
    """Per-utterance uncertainty (B,) of softmax samples (S, B, C); each row of C must sum to 1.

    Raises:
        ValueError: For no samples, an array that holds no probabilities (S, B, C), or other sums.
    """
    samples = _samples(probabilities)
    sums = samples.sum(axis=-1, keepdims=True)
    if samples.size and np.abs(sums - 1.0).max() > 1e-2:
        raise ValueError(
            f"rows sum to [{sums.min():.4g}, {sums.max():.4g}]: expected 1; for a multi-label head use "
            "binary_decomposition"
        )
    samples = samples / sums
    return _split(categorical_entropy(samples.mean(axis=0)), categorical_entropy(samples).mean(axis=0))


def _samples(probabilities: np.ndarray) -> np.ndarray:
    # Half-precision samples are converted before any logarithm: in 16 bits 1 - p is 0 for p above 0.9998.
    samples = as_probabilities(probabilities, ndim=3)
    if samples.shape[0] == 0:
        raise ValueError("probabilities hold no samples")
    return samples


def _split(total: np.ndarray, expected: np.ndarray) -> Uncertainty:
    # Entropy is concave, so expected <= total up to rounding. The minimum removes the rounding error.
    aleatoric = np.minimum(expected, total)
    return Uncertainty(total=total, aleatoric=aleatoric, epistemic=total - aleatoric)
