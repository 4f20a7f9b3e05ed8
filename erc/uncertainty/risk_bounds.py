"""Finite-sample tests that a risk is at most a limit.

Two p-values for the null hypothesis "the risk exceeds the limit", both valid for any sample size: a binomial
one for independent 0/1 losses, and a betting one for independent means in [0, 1], such as the mean losses of
dialogues.
"""

from __future__ import annotations

import numpy as np
from scipy.stats import binom


def binomial_p_value(errors: int, trials: int, *, limit: float) -> float:
    """P(at most `errors` of `trials`) if the error rate were `limit`.

    It is below delta exactly if the Clopper-Pearson bound is below the limit.
    """
    return 1.0 if trials == 0 else float(binom.cdf(errors, trials, limit))


def betting_p_value(means: np.ndarray, *, limit: float, delta: float) -> float:
    """P-value for "the expectation of each of `means` (G,), independent and in [0, 1], exceeds `limit`".

    A bet against the null multiplies the capital by 1 - stake_g (x_g - limit). Under the null the capital is
    a supermartingale, so 1 / (largest capital) is a p-value by Ville's inequality. The stake depends on
    earlier means alone (Waudby-Smith and Ramdas 2024, the predictable plug-in). So the test is sharper if the
    means vary less, and dialogue means vary far less than single turns. The order of `means` must not depend
    on their values.

    Raises:
        ValueError: For a `limit` outside (0, 1).
    """
    values = np.asarray(means, dtype=np.float64)
    if not 0.0 < limit < 1.0:
        raise ValueError(f"limit={limit}: expected a risk between 0 and 1")
    if not len(values):
        return 1.0
    counts = np.arange(1, len(values) + 1)
    running = (0.5 + np.cumsum(values)) / (counts + 1)
    variance = (0.25 + np.cumsum((values - running) ** 2)) / (counts + 1)
    known = np.concatenate(([0.25], variance[:-1]))  # before seeing x_g
    largest = 1.0 / (1.0 - limit)  # with a larger stake, x_g = 1 makes the capital negative
    stake = np.minimum(np.sqrt(2.0 * np.log(1.0 / delta) / (len(values) * known)), 0.95 * largest)
    log_capital = np.cumsum(np.log1p(-stake * (values - limit)))
    return float(min(1.0, np.exp(-log_capital.max())))
