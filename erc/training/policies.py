"""Fitting the decision policies that ship with a model."""

from __future__ import annotations

from typing import Any

import numpy as np

from erc.errors import InputError
from erc.uncertainty.policy import DecisionPolicy

RISKS = (0.15, 0.2, 0.25, 0.3, 0.35, 0.4)
"""Error rates a policy may promise for accepted turns, strictest first."""
_LEAST_COVERAGE = 0.5
_FALLBACK_COVERAGE = 0.5


def fit_policy(confidence: np.ndarray, wrong: np.ndarray, *, groups: Any | None = None) -> DecisionPolicy:
    """The strictest promise that still accepts half of the turns: error among accepted turns at most r, with 90% confidence.

    `confidence` (N,) is the calibrated probability of the predicted emotion out of fold, `wrong` (N,) 1 where
    that emotion is not gold, `groups` (N,) the dialogue of each turn. Where no r can be certified, the policy
    accepts the surer half and promises nothing.
    """
    for risk in RISKS:
        try:
            policy = DecisionPolicy.fit_risk(
                confidence, wrong.astype(float), signal="confidence", risk=risk, groups=groups
            )
        except InputError:
            continue
        if policy.fitted is not None and policy.fitted.coverage >= _LEAST_COVERAGE:
            return policy
    return DecisionPolicy.fit_coverage(confidence, signal="confidence", coverage=_FALLBACK_COVERAGE)
