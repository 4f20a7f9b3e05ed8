"""All figures of one model on one split, as one JSON-able dictionary.

Figures with a calibrator and thresholds fitted on the same split are cross-fitted by dialogue. In-sample
figures are reported too and are marked, because most published figures are in-sample.

Shapes: B utterances, C labels.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
from scipy.special import expit

from erc.metrics.bootstrap import bootstrap_interval, f1_intervals
from erc.metrics.calibration import multilabel_calibration, singlelabel_calibration
from erc.metrics.cooccurrence import confused_pairs, cooccurrence_confusion
from erc.metrics.discrimination import cell_discrimination
from erc.metrics.scores import multilabel_scores, singlelabel_scores
from erc.metrics.selective_report import (
    discrimination_comparison,
    multilabel_signals,
    rejection_comparison,
    selective_comparison,
    singlelabel_signals,
)
from erc.uncertainty.calibration import Calibrator, PerLabelPlatt, Temperature
from erc.uncertainty.checks import as_classes, as_matrix, as_multi_hot, as_probabilities, group_index
from erc.uncertainty.conformal import cross_fitted_sets
from erc.uncertainty.counts import one_hot
from erc.uncertainty.crossfit import cross_fitted, cross_fitted_classes
from erc.uncertainty.decomposition import Uncertainty, binary_entropy
from erc.uncertainty.losses import hamming_loss, jaccard_loss, zero_one_loss
from erc.uncertainty.thresholds import LabelThresholds, fit_thresholds

_SMALLEST = 1e-12
_SELECTIVE_RESAMPLES = 1_000  # sorting is slow, and more resamples barely change the percentiles of an area
_LOSSES = {"hamming": hamming_loss, "jaccard": jaccard_loss, "zero_one": zero_one_loss}


def multilabel_report(
    logits: np.ndarray,
    targets: np.ndarray,
    *,
    labels: Sequence[str],
    groups: Any | None = None,
    mc: Uncertainty | None = None,
    fit_calibrator: Callable[[np.ndarray, np.ndarray], Calibrator] = PerLabelPlatt.fit,
    folds: int = 5,
    resamples: int = 2_000,
    seed: int = 0,
) -> dict[str, Any]:
    """The report of dev logits and multi-hot targets (B, C).

    `mc` is the per-label Monte-Carlo uncertainty (B, C) of the same utterances. `at_half` scores the plain
    sigmoid at 0.5. `tuned.cross_fitted` is unbiased, `tuned.in_sample` is marked optimistic. `fitted` has the
    calibrator and the thresholds fitted on the whole split, for use in a model. `prediction_sets` scores 90%
    sets (None with too few dialogues). Selective figures use the cross-fitted decisions.

    Raises:
        ValueError: For arrays of other shapes or ranges, or fewer rows or groups than folds.
    """
    values = as_matrix(logits, name="logits", columns=len(labels))
    observed = as_multi_hot(targets, shape=values.shape)
    held = cross_fitted(values, observed, groups=groups, folds=folds, seed=seed, calibrate=fit_calibrator)
    calibrator = fit_calibrator(values, observed)
    calibrated = calibrator(values)
    thresholds = fit_thresholds(calibrated, observed)
    half = LabelThresholds.constant(0.5, len(labels))

    def scored(decisions: np.ndarray, limits: Sequence[float] | None = None) -> dict[str, Any]:
        scores = multilabel_scores(decisions, observed, labels=labels, thresholds=limits)
        intervals = f1_intervals(decisions, observed, groups=groups, resamples=resamples, seed=seed)
        return scores.to_dict() | {
            "intervals": {f"{name}_f1": interval.to_dict() for name, interval in intervals.items()}
        }

    signals = multilabel_signals(held.probabilities, uncalibrated=expit(values), mc=mc)
    losses = {name: loss(held.decisions, observed) for name, loss in _LOSSES.items()}
    cells = {"entropy": binary_entropy(held.probabilities)} | (
        {} if mc is None else {"mc_total": mc.total, "mc_epistemic": mc.epistemic}
    )
    return {
        "task": "multi-label",
        "labels": list(labels),
        "data": _data(observed, labels, groups),
        "protocol": {"folds": folds, "resamples": resamples, "seed": seed, "resampled": _unit(groups)},
        "at_half": scored(half.decide(expit(values)), half.values),
        "tuned": {
            "cross_fitted": scored(held.decisions),
            "in_sample": {"optimistic": True} | scored(thresholds.decide(calibrated), thresholds.values),
        },
        "fitted": {"calibrator": calibrator.to_dict(), "thresholds": thresholds.to_dict()},
        "calibration": {
            "uncalibrated": multilabel_calibration(expit(values), observed, labels=labels).to_dict(),
            "cross_fitted": multilabel_calibration(held.probabilities, observed, labels=labels).to_dict(),
        },
        "prediction_sets": _sets(expit(values), observed, held.fold, groups),
        "selective": selective_comparison(
            signals, losses, groups=groups, resamples=min(resamples, _SELECTIVE_RESAMPLES), seed=seed
        ),
        "rejection": rejection_comparison(signals, held.decisions, observed, seed=seed),
        "discrimination": {
            "utterance": discrimination_comparison(signals, losses["zero_one"] > 0),
            "cell": {
                name: {
                    part: found.to_dict()
                    for part, found in cell_discrimination(
                        values_, held.probabilities, held.decisions, observed
                    ).items()
                }
                for name, values_ in cells.items()
            },
        },
        "cooccurrence": {
            "matrix": cooccurrence_confusion(held.decisions, observed).tolist(),
            "confused_pairs": [
                asdict(pair) for pair in confused_pairs(held.decisions, observed, labels=labels)
            ],
        },
    }


def singlelabel_report(
    probabilities: np.ndarray,
    targets: np.ndarray,
    *,
    labels: Sequence[str],
    groups: Any | None = None,
    mc: Uncertainty | None = None,
    subsets: Mapping[str, np.ndarray] | None = None,
    fit_calibrator: Callable[[np.ndarray, np.ndarray], Calibrator] = Temperature.fit,
    folds: int = 5,
    resamples: int = 2_000,
    seed: int = 0,
) -> dict[str, Any]:
    """The report of dev softmax probabilities (B, C) and class indices (B,).

    The decision is the most probable class of the given probabilities. `mc` is the utterance-level
    uncertainty (B,). `subsets` are named masks (B,), such as the first utterance of each speaker; each gets
    scores and intervals. Calibration is given for the given probabilities, and after a calibrator
    cross-fitted by dialogue on the log-probabilities. `prediction_sets` scores 90% sets (None with too few
    dialogues).

    Raises:
        ValueError: For arrays of other shapes or ranges, or fewer rows or groups than folds.
    """
    array = as_probabilities(probabilities)
    if array.shape[1] != len(labels):
        raise ValueError(f"probabilities have {array.shape[1]} classes where {len(labels)} are named")
    classes = as_classes(targets, rows=array.shape[0], classes=array.shape[1])
    decided, logits = array.argmax(axis=1), np.log(np.maximum(array, _SMALLEST))
    held = cross_fitted_classes(
        logits, classes, groups=groups, folds=folds, seed=seed, calibrate=fit_calibrator
    )

    def scored(mask: np.ndarray) -> dict[str, Any]:
        chosen, true, inside = (
            decided[mask],
            classes[mask],
            None if groups is None else np.asarray(groups)[mask],
        )
        matrices = one_hot(chosen, len(labels)), one_hot(true, len(labels))
        intervals = f1_intervals(*matrices, groups=inside, resamples=resamples, seed=seed)
        # One class and one decision per utterance: micro-F1 is the accuracy.
        named = {
            "weighted_f1": intervals["weighted"],
            "macro_f1": intervals["macro"],
            "accuracy": intervals["micro"],
        }
        return singlelabel_scores(chosen, true, labels=labels).to_dict() | {
            "intervals": {name: found.to_dict() for name, found in named.items()}
        }

    everything = np.ones(len(classes), dtype=bool)
    signals = singlelabel_signals(held.probabilities, uncalibrated=array, mc=mc)
    nll = bootstrap_interval(
        _mean,
        _nll(held.probabilities, classes),
        groups=groups,
        resamples=min(resamples, _SELECTIVE_RESAMPLES),
        seed=seed,
    )
    wrong = zero_one_loss(decided, classes)
    return {
        "task": "single-label",
        "labels": list(labels),
        "data": _data(one_hot(classes, len(labels)), labels, groups),
        "protocol": {"folds": folds, "resamples": resamples, "seed": seed, "resampled": _unit(groups)},
        "scores": scored(everything),
        "subsets": {
            name: scored(mask) if mask.any() else None for name, mask in _masks(subsets, len(classes)).items()
        },
        "fitted": {"calibrator": fit_calibrator(logits, classes).to_dict()},
        "calibration": {
            "as_given": singlelabel_calibration(array, classes, labels=labels).to_dict(),
            "cross_fitted": singlelabel_calibration(held.probabilities, classes, labels=labels).to_dict(),
            "cross_fitted_nll": nll.to_dict(),
        },
        "prediction_sets": _sets(array, classes, held.fold, groups),
        "selective": selective_comparison(
            signals,
            {"zero_one": wrong},
            groups=groups,
            resamples=min(resamples, _SELECTIVE_RESAMPLES),
            seed=seed,
        ),
        "rejection": rejection_comparison(
            signals, one_hot(decided, len(labels)), one_hot(classes, len(labels)), seed=seed
        ),
        "discrimination": {"utterance": discrimination_comparison(signals, wrong > 0)},
    }


def _sets(
    probabilities: np.ndarray, targets: np.ndarray, fold: np.ndarray, groups: Any | None
) -> dict[str, float] | None:
    """Scores of prediction sets on the model's own probabilities."""
    scores = cross_fitted_sets(probabilities, targets, fold, groups=groups)
    return None if scores is None else scores.to_dict()


def _data(observed: np.ndarray, labels: Sequence[str], groups: Any | None) -> dict[str, Any]:
    return {
        "utterances": len(observed),
        "groups": None if groups is None else group_index(groups, rows=len(observed))[1],
        "supports": dict(zip(labels, map(int, observed.sum(axis=0)), strict=True)),
    }


def _unit(groups: Any | None) -> str:
    return "utterances" if groups is None else "groups"


def _masks(subsets: Mapping[str, np.ndarray] | None, rows: int) -> dict[str, np.ndarray]:
    return {
        name: as_multi_hot(mask, shape=(rows,), name=f"subset {name!r}")
        for name, mask in (subsets or {}).items()
    }


def _nll(probabilities: np.ndarray, classes: np.ndarray) -> np.ndarray:
    return -np.log(np.maximum(probabilities[np.arange(len(classes)), classes], _SMALLEST))


def _mean(values: np.ndarray) -> float:
    return float(values.mean())
