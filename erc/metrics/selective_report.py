"""Comparison of uncertainty scores: Monte-Carlo parts and those of one deterministic pass.

Every score is measured on the same decisions and the same resamples. Its AURC is compared with that of the
entropy of the deterministic pass, because an uncertainty that needs N passes must improve on one that needs
no extra pass.

Shapes: B utterances, C labels, S samples.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from erc.metrics.bootstrap import PairedDifference
from erc.metrics.discrimination import error_discrimination
from erc.uncertainty.decomposition import Uncertainty, binary_entropy, categorical_entropy
from erc.uncertainty.rejection import rejection_curve
from erc.uncertainty.selective import (
    coverage_at_risk,
    risk_at_coverage,
    selective_replicates,
    selective_scores,
)

BASELINE = "entropy"
COVERAGES = (0.9, 0.8, 0.7, 0.5)


def multilabel_signals(
    probabilities: np.ndarray, *, uncalibrated: np.ndarray, mc: Uncertainty | None = None
) -> dict[str, np.ndarray]:
    """Utterance-level uncertainties (B,) by name, high meaning uncertain.

    `max_probability` is 1 minus the largest label probability, `entropy` the sum of the labels' binary
    entropies, both of the deterministic pass (B, C). `entropy_uncalibrated` is the entropy before
    calibration, for comparison with the uncalibrated Monte-Carlo samples. `mc_total` and `mc_epistemic` sum
    the per-label parts of `mc` (B, C).
    """
    signals = {
        "max_probability": 1.0 - probabilities.max(axis=1),
        "entropy": binary_entropy(probabilities).sum(axis=1),
        "entropy_uncalibrated": binary_entropy(uncalibrated).sum(axis=1),
    }
    return signals if mc is None else signals | _mc_signals(mc.utterance(), rows=len(probabilities))


def singlelabel_signals(
    probabilities: np.ndarray, *, uncalibrated: np.ndarray, mc: Uncertainty | None = None
) -> dict[str, np.ndarray]:
    """As `multilabel_signals` for softmax probabilities (B, C) and an `mc` of shape (B,)."""
    signals = {
        "max_probability": 1.0 - probabilities.max(axis=1),
        "entropy": categorical_entropy(probabilities),
        "entropy_uncalibrated": categorical_entropy(uncalibrated),
    }
    return signals if mc is None else signals | _mc_signals(mc, rows=len(probabilities))


def selective_comparison(
    signals: Mapping[str, np.ndarray],
    losses: Mapping[str, np.ndarray],
    *,
    groups: Any | None,
    resamples: int,
    seed: int,
) -> dict[str, Any]:
    """Compares uncertainty signals by selective prediction.

    For each loss and signal: AURC, E-AURC and AUGRC with intervals, risk at fixed coverages, coverage at
    three quarters and half of the full risk, and paired differences of AURC and AUGRC to the entropy of the
    deterministic pass (negative: better).
    """
    comparison: dict[str, Any] = {}
    for loss_name, loss in losses.items():
        draws = {
            name: selective_replicates(signal, loss, groups=groups, resamples=resamples, seed=seed)
            for name, signal in signals.items()
        }
        areas = {name: selective_scores(signal, loss, draws[name]) for name, signal in signals.items()}
        entries = {}
        for name, signal in signals.items():
            scores, base = areas[name], areas[BASELINE]
            entry: dict[str, Any] = scores.to_dict()
            entry["risk_at_coverage"] = {
                f"{share:g}": risk_at_coverage(signal, loss, share) for share in COVERAGES
            }
            entry["coverage_at_risk"] = {
                f"{part:g}_of_full": coverage_at_risk(signal, loss, part * scores.risk)
                for part in (0.75, 0.5)
            }
            if name != BASELINE:
                replicates = draws[name] - draws[BASELINE]
                entry["against_entropy"] = {
                    "aurc": PairedDifference.of(
                        scores.aurc.estimate - base.aurc.estimate, replicates[:, 0]
                    ).to_dict(),
                    "augrc": PairedDifference.of(
                        scores.augrc.estimate - base.augrc.estimate, replicates[:, 2]
                    ).to_dict(),
                }
            entries[name] = entry
        comparison[loss_name] = entries
    return comparison


def rejection_comparison(
    signals: Mapping[str, np.ndarray], decisions: np.ndarray, targets: np.ndarray, *, seed: int
) -> dict[str, Any]:
    """The F1 rejection curve of every signal for boolean decisions and targets (B, C)."""
    return {
        name: rejection_curve(signal, decisions, targets, seed=seed).to_dict()
        for name, signal in signals.items()
    }


def discrimination_comparison(signals: Mapping[str, np.ndarray], errors: np.ndarray) -> dict[str, Any]:
    """AUROC and AUPR of "this utterance is wrong" (B,) for every signal."""
    return {name: error_discrimination(signal, errors).to_dict() for name, signal in signals.items()}


def _mc_signals(mc: Uncertainty, *, rows: int) -> dict[str, np.ndarray]:
    if mc.total.shape != (rows,):
        raise ValueError(
            f"the Monte-Carlo uncertainty has shape {mc.total.shape} per utterance where {(rows,)} is "
            "expected"
        )
    return {"mc_total": mc.total, "mc_epistemic": mc.epistemic}
