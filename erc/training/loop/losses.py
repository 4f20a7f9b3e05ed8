"""Losses and class weights.

Shapes: B examples, C emotions.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

ClassWeights = Literal["none", "emcoder", "min_over_count", "inverse", "sqrt_inverse", "effective_number"]


def emcoder_weights(positives: np.ndarray, total: int, *, epsilon: float = 1.0) -> np.ndarray:
    """The weight of each label's positives (C,), as in EmCoder (2026).

    It is 1 + ln((N_neg + eps) / (N_pos + eps)), limited to [0.1, 20].
    """
    negatives = total - positives
    return np.clip(1.0 + np.log((negatives + epsilon) / (positives + epsilon)), 0.1, 20.0)


def class_weights(counts: np.ndarray, kind: ClassWeights, *, beta: float = 0.999) -> np.ndarray | None:
    """Weights (C,) of exclusive classes from their training counts (C,); None for other kinds.

    - `min_over_count` is smallest count / count (EmoNet 2024).
    - `inverse` and `sqrt_inverse` are scaled to a mean of 1 over examples.
    - `effective_number` is (1 - beta) / (1 - beta^n), scaled in the same way (Cui et al. 2019).

    A class without examples gets weight 0.
    """
    if kind in ("none", "emcoder"):
        return None
    counts = counts.astype(float)
    seen = counts > 0
    weights = np.zeros_like(counts)
    if kind == "min_over_count":
        weights[seen] = counts[seen].min() / counts[seen]
        return weights
    if kind == "inverse":
        weights[seen] = 1.0 / counts[seen]
    elif kind == "sqrt_inverse":
        weights[seen] = 1.0 / np.sqrt(counts[seen])
    else:
        weights[seen] = (1.0 - beta) / (1.0 - np.power(beta, counts[seen]))
    return weights * counts.sum() / (weights * counts).sum()


def weighted_bce(logits: Tensor, targets: Tensor, positive_weights: Tensor | None) -> Tensor:
    """Mean binary cross entropy of logits and targets (B, C), with positive_weights (C,). A scalar."""
    return F.binary_cross_entropy_with_logits(logits.float(), targets, pos_weight=positive_weights)


def weighted_cross_entropy(
    logits: Tensor, targets: Tensor, weights: Tensor | None, *, label_smoothing: float = 0.0
) -> Tensor:
    """Cross entropy of logits (B, C) and targets (B,); -100 marks turns without a label."""
    if bool((targets == -100).all()):
        return logits.sum() * 0.0
    return F.cross_entropy(
        logits.float(), targets, weight=weights, label_smoothing=label_smoothing, ignore_index=-100
    )


def as_tensor(weights: np.ndarray | None) -> Tensor | None:
    """float32 tensor of weights, or None."""
    return None if weights is None else torch.tensor(weights, dtype=torch.float32)
