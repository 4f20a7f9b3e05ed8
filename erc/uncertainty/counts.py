"""True and false positives and F1 from them, with 0/0 = 0 as in scikit-learn's `zero_division=0`."""

from __future__ import annotations

import numpy as np


def safe_ratio(numerator: np.ndarray, denominator: np.ndarray) -> np.ndarray:
    """Element-wise `numerator / denominator`, 0 where the denominator is 0."""
    numerator, denominator = np.broadcast_arrays(
        np.asarray(numerator, dtype=np.float64), np.asarray(denominator, dtype=np.float64)
    )
    return np.divide(numerator, denominator, out=np.zeros(numerator.shape), where=denominator != 0)


def label_counts(decisions: np.ndarray, targets: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(tp, fp, fn), each (C,) integers, of boolean decisions and targets (B, C)."""
    tp = (decisions & targets).sum(axis=0)
    return tp, decisions.sum(axis=0) - tp, targets.sum(axis=0) - tp


def f1(tp: np.ndarray, fp: np.ndarray, fn: np.ndarray) -> np.ndarray:
    """F1 of counts of any equal shape."""
    doubled = 2.0 * np.asarray(tp, dtype=np.float64)
    return safe_ratio(doubled, doubled + fp + fn)


def one_hot(classes: np.ndarray, size: int) -> np.ndarray:
    """Class indices (B,) as a boolean matrix (B, size)."""
    return np.asarray(classes)[:, None] == np.arange(size)
