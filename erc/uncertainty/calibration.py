"""Calibrators: from logits to probabilities that match observed frequencies.

A calibrator is fitted on dev. It can be saved and refitted without the other parts of a model. It is monotone
per label, so it never changes a ranking within a label.

Weighted losses raise the probabilities of each label by a different amount. A single temperature cannot undo
that. So multi-label heads get a slope and an intercept per label (Platt 1999), regularised for rare labels.

Shapes: B utterances, C labels.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, Protocol

import numpy as np
from scipy.optimize import brentq, minimize
from scipy.special import expit, log_softmax, softmax

from erc.errors import ArtefactError
from erc.uncertainty.checks import as_classes, as_matrix, as_multi_hot
from erc.uncertainty.records import JsonDict, read_record, write_record

_SMALLEST_SLOPE = 0.05  # a slope of 0 or less would lose or reverse the ranking


class Calibrator(Protocol):
    """Turns logits (B, C) into probabilities (B, C); `load_calibrator` reads its JSON form."""

    def __call__(self, logits: np.ndarray) -> np.ndarray:
        """Probabilities (B, C) of `logits` (B, C).

        Raises:
            ValueError: For logits of another shape or number of labels, or a value that is not finite.
        """
        ...

    def to_dict(self) -> JsonDict:
        """The fitted parameters as JSON values."""
        ...


@dataclass(frozen=True, slots=True)
class Identity:
    """No calibration: `link` alone, `sigmoid` for multi-label heads and `softmax` for single-label ones.

    Raises:
        ValueError: If `link` is neither of them.
    """

    link: Literal["sigmoid", "softmax"]
    kind: ClassVar[str] = "identity"

    def __post_init__(self) -> None:
        if self.link not in ("sigmoid", "softmax"):
            raise ValueError(f"link={self.link!r}: expected 'sigmoid' or 'softmax'")

    def __call__(self, logits: np.ndarray) -> np.ndarray:
        """Probabilities (B, C)."""
        values = as_matrix(logits, name="logits")
        return expit(values) if self.link == "sigmoid" else softmax(values, axis=1)

    def to_dict(self) -> JsonDict:
        """The JSON record."""
        return write_record(self.kind, 1, {"link": self.link})

    @classmethod
    def from_dict(cls, record: Mapping[str, Any]) -> Identity:
        """The calibrator of a record.

        Raises:
            ArtefactError: For another kind, version or set of keys.
            ValueError: For values out of range.
        """
        return cls(**read_record(record, kind=cls.kind, version=1, fields=("link",)))


@dataclass(frozen=True, slots=True)
class PerLabelPlatt:
    """sigmoid(slope_c * logit + intercept_c) for each label c.

    Raises:
        ValueError: If a slope is not positive, or the numbers of slopes and intercepts differ.
    """

    slope: tuple[float, ...]
    intercept: tuple[float, ...]
    kind: ClassVar[str] = "per-label-platt"

    def __post_init__(self) -> None:
        if len(self.slope) != len(self.intercept):
            raise ValueError(f"{len(self.slope)} slopes and {len(self.intercept)} intercepts")
        if not all(value > 0 for value in self.slope):
            raise ValueError("every slope must be positive: a calibrator may not reverse a ranking")

    @classmethod
    def fit(
        cls,
        logits: np.ndarray,
        targets: np.ndarray,
        *,
        slope_strength: float = 4.0,
        intercept_strength: float = 4.0,
    ) -> PerLabelPlatt:
        """Fits by penalised maximum likelihood on dev logits and multi-hot targets (B, C).

        For each label it minimises the log loss, summed over utterances, plus
        `slope_strength/2 (slope - 1)^2 + intercept_strength/2 (intercept - pooled)^2`. `pooled` is the one
        shift of all logits that makes the expected number of positives equal the observed one.

        The curvature of the likelihood grows with a label's positives. So the penalty hardly changes a
        frequent label and dominates a label with a few positives. The strengths are the precisions of
        Gaussian priors.

        Raises:
            ValueError: For no utterances, a negative strength, or arrays of other shapes or ranges.
        """
        values = as_matrix(logits, name="logits")
        observed = as_multi_hot(targets, shape=values.shape).astype(np.float64)
        if not len(values):
            raise ValueError("a calibrator cannot be fitted on no utterances")
        if slope_strength < 0 or intercept_strength < 0:
            raise ValueError(f"strengths {slope_strength} and {intercept_strength} must not be negative")
        pooled = _pooled_shift(values, observed)
        fitted = [
            _fit_platt(values[:, c], observed[:, c], pooled, slope_strength, intercept_strength)
            for c in range(values.shape[1])
        ]
        return cls(
            slope=tuple(slope for slope, _ in fitted), intercept=tuple(intercept for _, intercept in fitted)
        )

    def __call__(self, logits: np.ndarray) -> np.ndarray:
        """Probabilities (B, C)."""
        values = as_matrix(logits, name="logits", columns=len(self.slope))
        return expit(values * np.array(self.slope) + np.array(self.intercept))

    def to_dict(self) -> JsonDict:
        """The JSON record."""
        return write_record(self.kind, 1, {"slope": list(self.slope), "intercept": list(self.intercept)})

    @classmethod
    def from_dict(cls, record: Mapping[str, Any]) -> PerLabelPlatt:
        """The calibrator of a record.

        Raises:
            ArtefactError: For another kind, version or set of keys.
            ValueError: For values out of range.
        """
        fields = read_record(record, kind=cls.kind, version=1, fields=("slope", "intercept"))
        return cls(slope=tuple(map(float, fields["slope"])), intercept=tuple(map(float, fields["intercept"])))


@dataclass(frozen=True, slots=True)
class Temperature:
    """softmax(logits / temperature + bias) with an optional bias per class (empty for none).

    Raises:
        ValueError: If the temperature is not positive.
    """

    temperature: float
    bias: tuple[float, ...] = ()
    kind: ClassVar[str] = "temperature"

    def __post_init__(self) -> None:
        if not self.temperature > 0:
            raise ValueError(f"temperature={self.temperature}: must be positive")

    @classmethod
    def fit(
        cls, logits: np.ndarray, targets: np.ndarray, *, bias: bool = False, bias_strength: float = 4.0
    ) -> Temperature:
        """Fits by penalised maximum likelihood on dev logits (B, C) and class indices (B,) (Guo et al. 2017).

        The penalty is `bias_strength/2 * sum bias^2 + 1/2 (ln temperature)^2`. The second term keeps the
        temperature finite if every dev utterance is right. It weighs about as much as one utterance. Without
        `bias` the argmax does not change.

        Raises:
            ValueError: For no utterances, or arrays of other shapes or ranges.
        """
        values = as_matrix(logits, name="logits")
        if not len(values):
            raise ValueError("a calibrator cannot be fitted on no utterances")
        classes = as_classes(targets, rows=values.shape[0], classes=values.shape[1])
        size = values.shape[1] if bias else 0
        observed = classes[:, None] == np.arange(values.shape[1])

        def objective(parameters: np.ndarray) -> tuple[float, np.ndarray]:
            scaled = values * np.exp(-parameters[0])
            log_p = log_softmax(scaled + (parameters[1:] if bias else 0.0), axis=1)
            residual = np.exp(log_p) - observed
            loss = (
                -log_p[observed].sum()
                + 0.5 * parameters[0] ** 2
                + 0.5 * bias_strength * (parameters[1:] ** 2).sum()
            )
            slope = parameters[0] - (residual * scaled).sum()
            return float(loss), np.append(slope, residual.sum(axis=0)[:size] + bias_strength * parameters[1:])

        best = minimize(
            objective,
            np.zeros(1 + size),
            jac=True,
            method="L-BFGS-B",
            bounds=[(-5.0, 5.0)] + [(None, None)] * size,
        ).x
        return cls(temperature=float(np.exp(best[0])), bias=tuple(map(float, best[1:])))

    def __call__(self, logits: np.ndarray) -> np.ndarray:
        """Probabilities (B, C)."""
        values = as_matrix(logits, name="logits", columns=len(self.bias) or None)
        return softmax(values / self.temperature + (np.array(self.bias) if self.bias else 0.0), axis=1)

    def to_dict(self) -> JsonDict:
        """The JSON record."""
        return write_record(self.kind, 1, {"temperature": self.temperature, "bias": list(self.bias)})

    @classmethod
    def from_dict(cls, record: Mapping[str, Any]) -> Temperature:
        """The calibrator of a record.

        Raises:
            ArtefactError: For another kind, version or set of keys.
            ValueError: For values out of range.
        """
        fields = read_record(record, kind=cls.kind, version=1, fields=("temperature", "bias"))
        return cls(temperature=float(fields["temperature"]), bias=tuple(map(float, fields["bias"])))


def load_calibrator(record: Mapping[str, Any]) -> Calibrator:
    """The calibrator of a record.

    Raises:
        ArtefactError: If its kind or version is unknown, or its values cannot be read.
    """
    kinds: dict[str, Callable[[Mapping[str, Any]], Calibrator]] = {
        Identity.kind: Identity.from_dict,
        PerLabelPlatt.kind: PerLabelPlatt.from_dict,
        Temperature.kind: Temperature.from_dict,
    }
    if record.get("kind") not in kinds:
        raise ArtefactError(f"calibrator of kind {record.get('kind')!r}: this release knows {sorted(kinds)}")
    try:
        return kinds[record["kind"]](record)
    except (TypeError, ValueError) as error:
        raise ArtefactError(f"calibrator of kind {record['kind']!r} cannot be read: {error}") from error


def _pooled_shift(logits: np.ndarray, targets: np.ndarray) -> float:
    """The shift b of all logits for which mean sigmoid(logit + b) is the rate of positives.

    Half a pseudo-count on each side keeps it finite.
    """
    rate = (targets.sum() + 0.5) / (targets.size + 1.0)
    return float(
        brentq(
            lambda shift: expit(logits + shift).mean() - rate,
            -60.0 - logits.max(),
            60.0 - logits.min(),
            xtol=1e-6,
        )
    )


def _fit_platt(
    logits: np.ndarray, targets: np.ndarray, pooled: float, slope_strength: float, intercept_strength: float
) -> tuple[float, float]:
    """(slope, intercept) of one label by L-BFGS-B on the convex penalised log loss."""

    def objective(parameters: np.ndarray) -> tuple[float, np.ndarray]:
        scores = parameters[0] * logits + parameters[1]
        residual = expit(scores) - targets
        away = np.array(
            [slope_strength * (parameters[0] - 1.0), intercept_strength * (parameters[1] - pooled)]
        )
        penalty = 0.5 * (away[0] * (parameters[0] - 1.0) + away[1] * (parameters[1] - pooled))
        loss = np.logaddexp(0.0, scores).sum() - (targets * scores).sum() + penalty
        return float(loss), np.array([(residual * logits).sum(), residual.sum()]) + away

    bounds = [(_SMALLEST_SLOPE, None), (None, None)]
    slope, intercept = minimize(
        objective, np.array([1.0, pooled]), jac=True, method="L-BFGS-B", bounds=bounds
    ).x
    return float(slope), float(intercept)


def calibrate_samples(calibrator: Calibrator, logits: np.ndarray) -> np.ndarray:
    """Calibrated probabilities (S, B, C) of logits (S, B, C), each sample like the mean pass."""
    samples, rows, labels = logits.shape
    return calibrator(logits.reshape(samples * rows, labels)).reshape(samples, rows, labels)
