"""The decision policy: which predictions are accepted, and which a person reviews.

A policy is a threshold on a confidence, on an uncertainty, or on both. It is fitted on dev for a given
coverage, or for a given risk with a finite-sample guarantee. It is saved in a file of its own. A policy does
not record how confidences and uncertainties are computed. It is valid only for the kind it was fitted on.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any, ClassVar, Literal

import numpy as np

from erc.errors import ArtefactError, InputError
from erc.uncertainty.checks import as_vector, group_index
from erc.uncertainty.records import JsonDict, read_record, write_record
from erc.uncertainty.risk_bounds import betting_p_value, binomial_p_value

ACCEPT = "accept"
REVIEW = "review"
Signal = Literal["confidence", "uncertainty"]

_STARTS = (0.2, 0.4, 0.6)  # coverages at which the three sequences of tests start
_GRID = tuple(round(0.02 * step, 2) for step in range(10, 51))  # coverages 0.20 to 1.00


@dataclass(frozen=True, slots=True)
class PolicyFit:
    """The target of a policy, and its figures on the dev data it was fitted on.

    Attributes:
        target: What was asked for.
        level: The wanted coverage or the limit of the risk.
        signal: What the threshold is on.
        delta: The probability with which the risk guarantee may fail; None for a coverage target, which has
            no guarantee.
        utterances: Number of dev utterances.
        groups: Number of dialogues, or of utterances without groups.
        coverage: Share of accepted utterances.
        risk: Mean loss of the accepted, each weighted by 1 / (turns of its dialogue); None without losses.
    """

    target: Literal["coverage", "risk"]
    level: float
    signal: Signal
    delta: float | None
    utterances: int
    groups: int
    coverage: float
    risk: float | None


@dataclass(frozen=True, slots=True)
class DecisionPolicy:
    """Accepts if confidence >= `min_confidence` and uncertainty <= `max_uncertainty`; None sets no limit."""

    min_confidence: float | None = None
    max_uncertainty: float | None = None
    fitted: PolicyFit | None = None
    kind: ClassVar[str] = "decision-policy"

    @classmethod
    def fit_coverage(cls, scores: np.ndarray, *, signal: Signal, coverage: float) -> DecisionPolicy:
        """The policy that accepts at least the share `coverage` of dev `scores` (B,), and more only for ties.

        `signal` says whether the scores are confidences (high is accepted) or uncertainties (low is).

        Raises:
            InputError: For a `coverage` outside (0, 1].
            ValueError: For no scores, scores of another shape, or an unknown signal.
        """
        certainty = _certainty(scores, signal)
        if not 0.0 < coverage <= 1.0:
            raise InputError(f"coverage={coverage}: expected a share above 0 and at most 1")
        limit = _limit(certainty, coverage)
        rows = len(certainty)
        fit = PolicyFit(
            "coverage", coverage, signal, None, rows, rows, float((certainty >= limit).mean()), None
        )
        return cls._of(signal, limit, fit)

    @classmethod
    def fit_risk(
        cls,
        scores: np.ndarray,
        losses: np.ndarray,
        *,
        signal: Signal,
        risk: float,
        delta: float = 0.1,
        groups: Any | None = None,
        seed: int = 0,
    ) -> DecisionPolicy:
        """The policy of largest coverage whose risk is at most `risk` with probability at least 1 - `delta`.

        Learn then Test (Angelopoulos et al. 2021): thresholds are tested from strict to loose in three
        sequences. Each starts at a fixed coverage, stops at its first failure, and tests at delta/3. So a
        certified threshold exceeds the limit with probability at most delta.

        - With `groups` (dialogue ids) the guarantee is for a random turn of a random *new dialogue*. Each
          dialogue gives one number: the mean over its turns of (loss if accepted, else `risk`). Its
          expectation exceeds `risk` exactly if the risk of the accepted turns does. `losses` (B,) may be
          anything in [0, 1].
        - Without groups, utterances are treated as independent. 0/1 losses are tested with the exact binomial
          test of Clopper and Pearson.

        Raises:
            InputError: If no threshold can be certified, or `risk` or `delta` is outside (0, 1).
            ValueError: For no scores, arrays of other shapes or ranges, or an unknown signal.
        """
        certainty = _certainty(scores, signal)
        values = as_vector(losses, name="losses", rows=len(certainty))
        if values.min() < 0 or values.max() > 1:
            raise ValueError(f"losses range over [{values.min()}, {values.max()}]: expected [0, 1]")
        if not 0.0 < risk < 1.0 or not 0.0 < delta < 1.0:
            raise InputError(f"risk={risk}, delta={delta}: both must lie between 0 and 1")
        index, count = group_index(groups, rows=len(certainty))
        p_value = _tester(
            values, index, count, grouped=groups is not None, risk=risk, delta=delta / len(_STARTS), seed=seed
        )
        limit = _loosest(certainty, p_value, delta / len(_STARTS))
        if limit is None:
            raise InputError(
                f"no threshold on the {signal} keeps the risk at or below {risk} with probability "
                f"{1 - delta:g} on {len(values)} utterances of "
                f"{count} groups (risk of accepting all: {values.mean():.3f}); allow a higher risk or "
                "delta, or fit on more data"
            )
        accepted = certainty >= limit
        turns = np.bincount(index, minlength=count)[index]
        observed = float(np.average(values[accepted], weights=1.0 / turns[accepted]))
        fit = PolicyFit("risk", risk, signal, delta, len(values), count, float(accepted.mean()), observed)
        return cls._of(signal, limit, fit)

    @classmethod
    def _of(cls, signal: Signal, limit: float, fit: PolicyFit) -> DecisionPolicy:
        # Adding 0.0 turns the -0.0 of a negated uncertainty into 0.0.
        return (
            cls(min_confidence=limit, fitted=fit)
            if signal == "confidence"
            else cls(max_uncertainty=-limit + 0.0, fitted=fit)
        )

    def accepts(
        self, confidence: np.ndarray | None = None, uncertainty: np.ndarray | None = None
    ) -> np.ndarray:
        """Booleans (B,): True where a prediction is accepted.

        Raises:
            ValueError: If a signal that the policy needs is not given, or the shapes differ.
        """
        shapes = {np.shape(signal) for signal in (confidence, uncertainty) if signal is not None}
        if len(shapes) != 1:
            raise ValueError(
                f"confidence and uncertainty have shapes {sorted(shapes)}: one shape is expected"
            )
        accepted = np.ones(shapes.pop(), dtype=bool)
        # A NaN compares False and is therefore reviewed.
        if self.min_confidence is not None:
            accepted &= np.asarray(_given(confidence, "confidence")) >= self.min_confidence
        if self.max_uncertainty is not None:
            accepted &= np.asarray(_given(uncertainty, "uncertainty")) <= self.max_uncertainty
        return accepted

    def decide(
        self, confidence: np.ndarray | None = None, uncertainty: np.ndarray | None = None
    ) -> np.ndarray:
        """Strings (B,): 'accept' or 'review'.

        Raises:
            ValueError: As `accepts`.
        """
        return np.where(self.accepts(confidence, uncertainty), ACCEPT, REVIEW)

    def to_dict(self) -> JsonDict:
        """The JSON record."""
        fitted = None if self.fitted is None else asdict(self.fitted)
        return write_record(
            self.kind,
            1,
            {
                "min_confidence": self.min_confidence,
                "max_uncertainty": self.max_uncertainty,
                "fitted": fitted,
            },
        )

    @classmethod
    def from_dict(cls, record: Mapping[str, Any]) -> DecisionPolicy:
        """The policy of a record.

        Raises:
            ArtefactError: If the record cannot be read.
        """
        read = read_record(
            record, kind=cls.kind, version=1, fields=("min_confidence", "max_uncertainty", "fitted")
        )
        for name in ("min_confidence", "max_uncertainty"):
            if read[name] is not None and not isinstance(read[name], int | float):
                raise ArtefactError(f"{cls.kind}: {name}={read[name]!r} is not a number")
        if read["fitted"] is not None:
            if set(read["fitted"]) != {field.name for field in fields(PolicyFit)}:
                raise ArtefactError(f"{cls.kind}: 'fitted' has the keys {sorted(read['fitted'])}")
            read["fitted"] = PolicyFit(**read["fitted"])
        return cls(**read)


def _given(signal: np.ndarray | None, name: str) -> np.ndarray:
    if signal is None:
        raise ValueError(f"this policy decides by {name}, which was not given")
    return signal


def _certainty(scores: np.ndarray, signal: Signal) -> np.ndarray:
    values = as_vector(scores, name="scores")
    if signal not in ("confidence", "uncertainty"):
        raise ValueError(f"signal={signal!r}: expected 'confidence' or 'uncertainty'")
    if not len(values):
        raise ValueError("a policy cannot be fitted on no utterances")
    return values if signal == "confidence" else -values


def _limit(certainty: np.ndarray, coverage: float) -> float:
    """The largest threshold with at least the share `coverage` at or above it."""
    return float(np.sort(certainty)[::-1][max(int(np.ceil(coverage * len(certainty) - 1e-9)), 1) - 1])


def _tester(
    losses: np.ndarray, index: np.ndarray, count: int, *, grouped: bool, risk: float, delta: float, seed: int
) -> Callable[[np.ndarray], float]:
    """The p-value of the hypothesis that accepting the given utterances (B,) exceeds the limit."""
    if not grouped and np.isin(losses, (0.0, 1.0)).all():
        return lambda accepted: binomial_p_value(int(losses[accepted].sum()), int(accepted.sum()), limit=risk)
    turns = np.bincount(index, minlength=count)
    order = np.random.default_rng(seed).permutation(count)  # the order must not depend on the corpus

    def p_value(accepted: np.ndarray) -> float:
        means = np.bincount(index, weights=np.where(accepted, losses, risk), minlength=count) / turns
        return betting_p_value(means[order], limit=risk, delta=delta)

    return p_value


def _loosest(certainty: np.ndarray, p_value: Callable[[np.ndarray], float], delta: float) -> float | None:
    """The loosest threshold that any sequence of tests certifies."""
    passed: list[float] = []
    for start in _STARTS:
        for coverage in (point for point in _GRID if point >= start):
            limit = _limit(certainty, coverage)
            if p_value(certainty >= limit) > delta:
                break
            passed.append(limit)
    return min(passed, default=None)
