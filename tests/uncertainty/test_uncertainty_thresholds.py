import json

import numpy as np
import pytest
from scipy.special import expit, logit

from erc.errors import ArtefactError
from erc.uncertainty.counts import f1, label_counts
from erc.uncertainty.thresholds import PRIOR_POSITIVES, LabelThresholds, fit_thresholds


def scored(rates, n=4_000, seed=0, separation=2.5):
    """Calibrated probabilities for labels of the given rates, from two unit Gaussians `separation` apart."""
    rng = np.random.default_rng(seed)
    targets = rng.random((n, len(rates))) < np.array(rates)
    scores = rng.normal(targets * separation, 1.0)
    logits = separation * scores - separation**2 / 2 + logit(np.array(rates))
    return expit(logits), targets


def test_threshold_of_a_calibrated_label_is_half_its_best_f1():
    # Lipton et al. 2014: for calibrated probabilities the F1-optimal threshold is half the optimal F1.
    probabilities, targets = scored([0.3], n=60_000)
    thresholds = fit_thresholds(probabilities, targets, prior_positives=0)
    best = f1(*label_counts(thresholds.decide(probabilities), targets))[0]
    assert thresholds.values[0] == pytest.approx(best / 2, abs=0.04)


def test_thresholds_separate_separable_labels():
    probabilities = np.array([[0.1], [0.12], [0.3], [0.34], [0.11]] * 20)
    targets = np.array([[0], [0], [1], [1], [0]] * 20)
    thresholds = fit_thresholds(probabilities, targets)
    np.testing.assert_array_equal(thresholds.decide(probabilities), targets)


def test_threshold_of_a_rare_label_shrinks_to_the_pooled_threshold():
    probabilities, targets = scored([0.3, 0.3])
    targets[:, 1] = False
    targets[np.argsort(-probabilities[:, 1])[:10], 1] = True  # the label's own optimum is much higher
    free = fit_thresholds(probabilities, targets, prior_positives=0)
    shrunk = fit_thresholds(probabilities, targets, prior_positives=30)
    assert free.values[1] > free.pooled
    # 10 positives and a prior of 30: a quarter of the way from pooled to own, on the logit scale.
    expected = 0.25 * logit(free.values[1]) + 0.75 * logit(free.pooled)
    assert logit(shrunk.values[1]) == pytest.approx(expected)


def test_label_without_positives_takes_the_pooled_threshold():
    probabilities, targets = scored([0.3, 0.3])
    targets[:, 1] = False
    thresholds = fit_thresholds(probabilities, targets)
    assert thresholds.values[1] == pytest.approx(thresholds.pooled)
    assert thresholds.positives[1] == 0


def test_frequent_label_keeps_its_own_threshold():
    probabilities, targets = scored([0.4, 0.05])
    free, shrunk = (
        fit_thresholds(probabilities, targets, prior_positives=0),
        fit_thresholds(probabilities, targets),
    )
    assert shrunk.values[0] == pytest.approx(free.values[0], abs=0.01)


def test_shrinkage_raises_macro_f1_on_new_data_with_rare_labels():
    rates = [0.3, 0.1] + [0.002] * 10
    gains = []
    for seed in range(6):
        probabilities, targets = scored(rates, seed=seed)
        fresh, truth = scored(rates, n=40_000, seed=100 + seed)
        both = [fit_thresholds(probabilities, targets, prior_positives=k) for k in (0, PRIOR_POSITIVES)]
        figures = [f1(*label_counts(thresholds.decide(fresh), truth)).mean() for thresholds in both]
        gains.append(figures[1] - figures[0])
    assert np.mean(gains) > 0


def test_in_sample_optimism_is_smaller_than_for_the_raw_f1_curve():
    grid = np.linspace(0.02, 0.98, 97)
    optimism = []
    for seed in range(4):
        probabilities, targets = scored([0.2] + [0.005] * 8, seed=seed)
        fresh, truth = scored([0.2] + [0.005] * 8, n=40_000, seed=100 + seed)
        naive = np.array([f1(*label_counts(probabilities >= value, targets)) for value in grid])
        for decide in (
            fit_thresholds(probabilities, targets).decide,
            LabelThresholds(tuple(grid[naive.argmax(axis=0)])).decide,
        ):
            optimism.append(
                [
                    f1(*label_counts(decide(p), t)).mean()
                    for p, t in ((probabilities, targets), (fresh, truth))
                ]
            )
    gaps = np.subtract(*np.array(optimism).T).reshape(4, 2).mean(axis=0)
    assert gaps[0] < 0.5 * gaps[1]


def test_fit_refuses_targets_without_any_positive():
    with pytest.raises(ValueError, match="no label has a positive"):
        fit_thresholds(np.full((3, 2), 0.5), np.zeros((3, 2)))


def test_probabilities_of_zero_and_one_are_accepted():
    thresholds = fit_thresholds(np.array([[0.0], [1.0], [0.0], [1.0]]), np.array([[0], [1], [0], [1]]))
    np.testing.assert_array_equal(thresholds.decide(np.array([[0.0], [1.0]])), [[False], [True]])


def test_decide_accepts_a_probability_equal_to_its_threshold():
    assert LabelThresholds.constant(0.5, 2).decide(np.array([[0.5, 0.4999]])).tolist() == [[True, False]]


def test_thresholds_round_trip_through_json():
    thresholds = fit_thresholds(*scored([0.3, 0.01]))
    assert LabelThresholds.from_dict(json.loads(json.dumps(thresholds.to_dict()))) == thresholds


def test_thresholds_out_of_range_are_refused_on_reading():
    record = LabelThresholds.constant(0.5, 2).to_dict()
    with pytest.raises(ArtefactError, match="0, 1"):
        LabelThresholds.from_dict({**record, "values": [0.5, 1.5]})
