"""Decomposable losses: one number in [0, 1] per utterance, whose mean over any subset is that subset's risk.

Macro-F1 is no such loss: under rejection it changes with the label frequencies of the kept utterances.
"""

from __future__ import annotations

import numpy as np

from erc.uncertainty.counts import safe_ratio


def zero_one_loss(decisions: np.ndarray, targets: np.ndarray) -> np.ndarray:
    """(B,): 1 where the class is wrong; for multi-hot (B, C), where any label is.

    Raises:
        ValueError: If the shapes differ.
    """
    decisions, targets = _same_shape(decisions, targets)
    wrong = decisions != targets
    return (wrong.any(axis=1) if wrong.ndim == 2 else wrong).astype(np.float64)


def hamming_loss(decisions: np.ndarray, targets: np.ndarray) -> np.ndarray:
    """(B,): the share of labels (B, C) that are wrong.

    Raises:
        ValueError: If the shapes differ.
    """
    decisions, targets = _same_shape(decisions, targets)
    return (decisions != targets).mean(axis=1)


def jaccard_loss(decisions: np.ndarray, targets: np.ndarray) -> np.ndarray:
    """(B,): 1 - |decided and true| / |decided or true| of multi-hot (B, C); 0 where both sets are empty.

    Raises:
        ValueError: If the shapes differ.
    """
    decided, true = (array.astype(bool) for array in _same_shape(decisions, targets))
    union = (decided | true).sum(axis=1)
    return np.where(union == 0, 0.0, 1.0 - safe_ratio((decided & true).sum(axis=1), union))


def _same_shape(decisions: np.ndarray, targets: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    decisions, targets = np.asarray(decisions), np.asarray(targets)
    if decisions.shape != targets.shape:
        raise ValueError(f"decisions have shape {decisions.shape} and targets {targets.shape}")
    return decisions, targets
