"""How much one conversation may weigh in what is remembered of a speaker."""

from __future__ import annotations

import numpy as np


def capped_shares(weights: np.ndarray, cap: float) -> np.ndarray:
    """Shares min(l * w, cap) of positive weights, shape (N,), with the one l at which they sum to 1.

    With fewer than 1 / cap weights no l exists: each gets `cap`, and what is missing to 1 is nobody's. Adding or removing one
    conversation therefore moves any weighted mean of values in [0, 1] by at most `cap`, however many turns it has.
    The level l is found in closed form: with the k largest capped, l = (1 - k * cap) / (the sum of the others).
    """
    if not 0.0 < cap <= 1.0:
        raise ValueError(f"cap={cap}: the share of one conversation lies above 0 and at most at 1")
    shares = np.zeros(len(weights))
    positive = np.flatnonzero(weights > 0)
    if not len(positive):
        return shares
    if len(positive) * cap <= 1.0:
        shares[positive] = cap
        return shares
    order = positive[np.argsort(-weights[positive], kind="stable")]
    falling = weights[order] / weights[order[0]]  # scaled by the largest, so that nothing overflows
    rest = np.cumsum(falling[::-1])[::-1]
    level = (1.0 - cap * np.arange(len(falling))) / rest
    capped = int(np.argmax(level * falling <= cap))  # the first k at which the (k+1)-th largest stays below the cap
    shares[order] = np.minimum(level[capped] * falling, cap)
    shares[order[:capped]] = cap
    return shares
