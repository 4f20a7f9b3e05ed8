"""How much one conversation may weigh in what is remembered of a speaker."""

from __future__ import annotations

import numpy as np


def capped_shares(log_weights: np.ndarray, cap: float) -> np.ndarray:
    """Shares min(l * w, cap) of weights w = 2 ** log_weights, shape (N,), with the one l at which they sum to 1.

    With fewer than 1 / cap weights no l exists: each gets `cap`, and what is missing to 1 is nobody's. Adding
    one conversation only ever takes from the others, so it moves any weighted mean of values in [0, 1] by at
    most `cap`, however many turns it has. The level is found in closed form: with the k largest capped, l =
    (1 - k * cap) / (the sum of the others). Logarithms keep weights of very different ages from vanishing.
    """
    if not 0.0 < cap <= 1.0:
        raise ValueError(f"cap={cap}: the share of one conversation lies above 0 and at most at 1")
    count = len(log_weights)
    if count * cap <= 1.0:
        return np.full(count, cap)
    order = np.argsort(-log_weights, kind="stable")
    falling = log_weights[order]
    rest = np.logaddexp2.accumulate(falling[::-1])[::-1]  # the logarithm of the k-th largest and all below it
    room = 1.0 - cap * np.arange(count)
    capped = int(
        np.argmax(room * np.exp2(falling - rest) <= cap)
    )  # the first k at which the next one stays below the cap
    shares = np.full(count, cap)
    shares[order[capped:]] = np.minimum(room[capped] * np.exp2(falling[capped:] - rest[capped]), cap)
    return shares
