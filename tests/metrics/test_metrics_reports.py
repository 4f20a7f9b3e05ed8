import json

import numpy as np
import pytest
from scipy.special import expit, softmax

from erc.metrics.reports import multilabel_report, singlelabel_report
from erc.uncertainty.calibration import load_calibrator
from erc.uncertainty.decomposition import binary_decomposition, categorical_decomposition
from erc.uncertainty.thresholds import LabelThresholds

LABELS = ("joy", "anger", "fear", "grief")


@pytest.fixture(scope="module")
def multilabel():
    """Logits of four labels, inflated by 1.5 as by a weighted loss."""
    rng = np.random.default_rng(0)
    honest = rng.normal([-0.5, -1.5, -2.5, -5.5], 2.0, size=(600, 4))
    targets = rng.random(honest.shape) < expit(honest)
    samples = expit(honest + 1.5 + rng.normal(size=(8, 600, 4)) * 0.4)
    groups = np.repeat(np.arange(60), 10)
    return (
        honest + 1.5,
        targets,
        groups,
        multilabel_report(
            honest + 1.5,
            targets,
            labels=LABELS,
            groups=groups,
            mc=binary_decomposition(samples),
            resamples=60,
        ),
    )


@pytest.fixture(scope="module")
def singlelabel():
    rng = np.random.default_rng(1)
    logits = rng.normal(size=(400, 4)) * 1.5
    targets = (logits + rng.gumbel(size=logits.shape)).argmax(axis=1)
    samples = softmax(3 * logits + rng.normal(size=(6, 400, 4)), axis=-1)
    groups = np.array([f"scene-{number // 8}" for number in range(400)])
    subsets = {"first": np.arange(400) % 8 == 0, "nobody": np.zeros(400, dtype=bool)}
    return targets, singlelabel_report(
        softmax(3 * logits, axis=1),
        targets,
        labels=LABELS,
        groups=groups,
        mc=categorical_decomposition(samples),
        subsets=subsets,
        resamples=60,
    )


def test_reports_are_json_serialisable(multilabel, singlelabel):
    for report in (multilabel[-1], singlelabel[-1]):
        assert json.loads(json.dumps(report, allow_nan=False)) == json.loads(json.dumps(report))


def test_multilabel_report_undoes_inflated_probabilities(multilabel):
    calibration = multilabel[-1]["calibration"]
    assert calibration["cross_fitted"]["macro_ece"] < 0.5 * calibration["uncalibrated"]["macro_ece"]
    assert calibration["cross_fitted"]["nll"] < calibration["uncalibrated"]["nll"]


def test_in_sample_figures_are_marked_and_reproduced_by_the_fitted_parts(multilabel):
    logits, targets, _, report = multilabel
    in_sample = report["tuned"]["in_sample"]
    assert in_sample["optimistic"] is True
    assert "optimistic" not in report["tuned"]["cross_fitted"]
    decisions = LabelThresholds.from_dict(report["fitted"]["thresholds"]).decide(
        load_calibrator(report["fitted"]["calibrator"])(logits)
    )
    assert in_sample["hamming_loss"] == pytest.approx((decisions != targets).mean())


def test_every_signal_is_compared_with_the_deterministic_entropy(multilabel):
    for loss in ("hamming", "jaccard", "zero_one"):
        signals = multilabel[-1]["selective"][loss]
        assert set(signals) == {
            "max_probability",
            "entropy",
            "entropy_uncalibrated",
            "mc_total",
            "mc_epistemic",
        }
        assert "against_entropy" not in signals["entropy"]
        gap = signals["mc_total"]["aurc"]["estimate"] - signals["entropy"]["aurc"]["estimate"]
        assert signals["mc_total"]["against_entropy"]["aurc"]["difference"] == pytest.approx(gap)


def test_full_coverage_risk_equals_the_loss_of_cross_fitted_decisions(multilabel):
    report = multilabel[-1]
    assert report["selective"]["hamming"]["entropy"]["risk"] == pytest.approx(
        report["tuned"]["cross_fitted"]["hamming_loss"]
    )
    assert report["rejection"]["entropy"]["micro_f1"][0] == pytest.approx(
        report["tuned"]["cross_fitted"]["micro"]["f1"]
    )


def test_intervals_contain_their_estimates(multilabel, singlelabel):
    for scores in (multilabel[-1]["tuned"]["cross_fitted"], singlelabel[-1]["scores"]):
        for interval in scores["intervals"].values():
            assert interval["low"] <= interval["estimate"] <= interval["high"]


def test_report_without_monte_carlo_has_only_deterministic_signals(multilabel):
    report = multilabel_report(*multilabel[:2], labels=LABELS, resamples=10)
    assert set(report["selective"]["hamming"]) == {"max_probability", "entropy", "entropy_uncalibrated"}
    assert report["protocol"]["resampled"] == "utterances"


def test_monte_carlo_of_other_utterances_is_refused(multilabel):
    with pytest.raises(ValueError, match=r"\(600,\) is expected"):
        multilabel_report(
            *multilabel[:2], labels=LABELS, mc=binary_decomposition(np.full((2, 3, 4), 0.5)), resamples=10
        )


def test_singlelabel_report_calibrates_an_overconfident_model(singlelabel):
    calibration = singlelabel[-1]["calibration"]
    assert calibration["cross_fitted"]["top_ece"] < 0.5 * calibration["as_given"]["top_ece"]
    assert calibration["cross_fitted"]["accuracy"] == pytest.approx(singlelabel[-1]["scores"]["accuracy"])
    assert load_calibrator(singlelabel[-1]["fitted"]["calibrator"]).temperature == pytest.approx(3.0, rel=0.3)


def test_subsets_are_scored_separately_and_empty_ones_are_none(singlelabel):
    subsets = singlelabel[-1]["subsets"]
    assert subsets["first"]["utterances"] == 50
    assert subsets["nobody"] is None
