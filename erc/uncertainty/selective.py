"""Selective prediction: how fast the risk falls if the most uncertain utterances are rejected.

Utterances are kept in order of rising uncertainty. Every figure is the mean over all orders of utterances
with equal uncertainty. So it does not depend on the order of the input, and a constant score gives exactly
the figures of random rejection.

- AURC (Geifman and El-Yaniv 2017): mean over k = 1..n of the mean loss of the k most certain.
- E-AURC (Geifman et al. 2019): AURC minus that of the best possible order, by the loss itself.
- AUGRC (Traub et al. 2024): area under (summed loss of the kept, divided by n) against coverage. For a 0/1
  loss with error rate e it equals `(1 - AUROC) e (1 - e) + e^2 / 2`, the probability that a random pair holds
  a failure that would be accepted. Unlike AURC it does not give most weight to the few most certain
  utterances.

Shapes: B utterances, R resamples, K distinct uncertainties.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from erc.uncertainty.checks import as_vector, group_index
from erc.uncertainty.resampling import Interval, group_draws


@dataclass(frozen=True, slots=True, eq=False)
class RiskCoverageCurve:
    """Points (K,) of all thresholds on the uncertainty, from the strictest to one that keeps everything.

    `coverage` is the kept share, `risk` the mean loss of the kept, `threshold` the largest uncertainty kept.
    """

    coverage: np.ndarray
    risk: np.ndarray
    threshold: np.ndarray


@dataclass(frozen=True, slots=True)
class SelectiveScores:
    """Areas of one uncertainty score for one loss, with intervals; `risk` is the mean loss of all."""

    risk: float
    aurc: Interval
    e_aurc: Interval
    augrc: Interval

    def to_dict(self) -> dict[str, Any]:
        """The JSON form."""
        return {
            "risk": self.risk,
            "aurc": self.aurc.to_dict(),
            "e_aurc": self.e_aurc.to_dict(),
            "augrc": self.augrc.to_dict(),
        }


def risk_coverage_curve(uncertainty: np.ndarray, losses: np.ndarray) -> RiskCoverageCurve:
    """The curve of uncertainties (B,) and losses (B,).

    Raises:
        ValueError: For no utterances, or arrays of other shapes or values; so do the other functions here.
    """
    order, starts, scores, values = _blocks(uncertainty, losses)
    kept = np.append(starts[1:], len(order))
    return RiskCoverageCurve(
        coverage=kept / len(order), risk=np.cumsum(values)[kept - 1] / kept, threshold=scores[starts]
    )


def aurc(uncertainty: np.ndarray, losses: np.ndarray) -> float:
    """Area under the risk-coverage curve."""
    return float(_areas(uncertainty, losses, np.ones((1, len(np.asarray(losses)))))[0, 0])


def e_aurc(uncertainty: np.ndarray, losses: np.ndarray) -> float:
    """AURC minus the AURC of the oracle that ranks by the loss; 0 for a perfect ranking."""
    return aurc(uncertainty, losses) - aurc(losses, losses)


def augrc(uncertainty: np.ndarray, losses: np.ndarray) -> float:
    """Area under the generalised risk-coverage curve, by the trapezoid rule from (0, 0)."""
    return float(_areas(uncertainty, losses, np.ones((1, len(np.asarray(losses)))))[0, 1])


def coverage_at_risk(uncertainty: np.ndarray, losses: np.ndarray, risk: float) -> float:
    """The largest coverage a threshold can reach with mean loss at most `risk`; 0 if none does."""
    curve = risk_coverage_curve(uncertainty, losses)
    return float(curve.coverage[curve.risk <= risk + 1e-12].max(initial=0.0))


def risk_at_coverage(uncertainty: np.ndarray, losses: np.ndarray, coverage: float) -> float:
    """The mean loss of the ceil(coverage * B) most certain, averaged over the orders of ties.

    Raises:
        ValueError: For a `coverage` outside (0, 1], no utterances, or arrays of other shapes or values.
    """
    if not 0.0 < coverage <= 1.0:
        raise ValueError(f"coverage={coverage}: expected a share above 0 and at most 1")
    order, starts, _, values = _blocks(uncertainty, losses)
    sizes = np.diff(np.append(starts, len(order)))
    averaged = np.repeat(np.add.reduceat(values, starts) / sizes, sizes)
    kept = int(np.ceil(coverage * len(order) - 1e-9))
    return float(averaged[:kept].mean())


def selective_replicates(
    uncertainty: np.ndarray,
    losses: np.ndarray,
    *,
    groups: Any | None = None,
    resamples: int = 1000,
    seed: int = 0,
) -> np.ndarray:
    """Bootstrap replicates (R, 3) of AURC, E-AURC and AUGRC over groups; equal seeds give paired replicates.

    Raises:
        ValueError: For no utterances, arrays of other shapes or values, or `resamples` below 1.
    """
    index, count = group_index(groups, rows=len(np.asarray(losses)))
    chunks = []
    for draws in group_draws(count, resamples, seed=seed, width=len(index)):
        weights = draws[:, index]
        chunks.append(_scores(uncertainty, losses, weights))
    return np.concatenate(chunks)


def selective_scores(
    uncertainty: np.ndarray, losses: np.ndarray, replicates: np.ndarray, *, level: float = 0.95
) -> SelectiveScores:
    """The three areas with intervals from bootstrap `replicates` (R, 3).

    Raises:
        ValueError: For no utterances, arrays of other shapes or values, or a `level` outside (0, 1).
    """
    point = _scores(uncertainty, losses, np.ones((1, len(np.asarray(losses)))))[0]
    areas = [Interval.of(point[column], replicates[:, column], level=level) for column in range(3)]
    return SelectiveScores(risk=float(np.mean(losses)), aurc=areas[0], e_aurc=areas[1], augrc=areas[2])


def keep_most_certain(uncertainty: np.ndarray, coverages: Sequence[float]) -> list[np.ndarray]:
    """A mask (B,) of the most certain utterances for each coverage; ties with the last one are kept."""
    values = as_vector(uncertainty, name="uncertainty")
    ranked = np.sort(values)
    return [
        values <= ranked[max(int(np.ceil(coverage * len(values) - 1e-9)), 1) - 1] for coverage in coverages
    ]


def _scores(uncertainty: np.ndarray, losses: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """(R, 3): AURC, E-AURC, AUGRC."""
    areas = _areas(uncertainty, losses, weights)
    oracle = _areas(losses, losses, weights)
    return np.column_stack([areas[:, 0], areas[:, 0] - oracle[:, 0], areas[:, 1]])


def _blocks(
    uncertainty: np.ndarray, losses: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """(order, starts, sorted uncertainties, losses in that order); `starts` (K,) begin the ties."""
    values = as_vector(losses, name="losses")
    scores = as_vector(uncertainty, name="uncertainty", rows=len(values))
    if not len(values):
        raise ValueError("no utterances: a risk-coverage curve has no points")
    order = np.argsort(scores, kind="stable")
    ranked = scores[order]
    starts = np.flatnonzero(np.append(True, ranked[1:] != ranked[:-1]))
    return order, starts, ranked, values[order]


def _areas(uncertainty: np.ndarray, losses: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """(R, 2): AURC and AUGRC where row b counts weights[r, b] times (whole numbers).

    Consider a tie of mean loss m after `a` utterances of summed loss L. The expected risk at k is
    (L + (k - a) m) / k = m + (L - a m) / k. Its sum over k = a+1..b is m (b - a) + (L - a m) (H_b - H_a) with
    the harmonic numbers H. This holds for ties and for repeated draws.
    """
    order, starts, _, values = _blocks(uncertainty, losses)
    ranked = np.asarray(weights, dtype=np.float64)[:, order]
    sizes = np.add.reduceat(ranked, starts, axis=1)
    sums = np.add.reduceat(ranked * values, starts, axis=1)
    after, lost = np.cumsum(sizes, axis=1), np.cumsum(sums, axis=1)
    before, earlier = after - sizes, lost - sums
    mean = np.divide(sums, sizes, out=np.zeros_like(sums), where=sizes > 0)
    total = after[:, -1:]
    harmonic = np.concatenate(([0.0], np.cumsum(1.0 / np.arange(1, int(total.max()) + 1))))
    steps = harmonic[after.astype(np.intp)] - harmonic[before.astype(np.intp)]
    risk = (mean * sizes + (earlier - before * mean) * steps).sum(axis=1) / total[:, 0]
    generalised = ((earlier + lost) / 2 * sizes).sum(axis=1) / total[:, 0] ** 2
    return np.column_stack([risk, generalised])
