import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import brier_score_loss, log_loss

from erc.metrics.calibration import (
    binary_ece,
    multilabel_calibration,
    reliability,
    restricted_ece,
    singlelabel_calibration,
)


def test_ece_of_two_bins_equals_hand_computed_value():
    # Low half: mean 0.15, frequency 0.5, gap 0.35; high half: mean 0.7, frequency 0.5, gap 0.2.
    probabilities, outcomes = np.array([0.1, 0.2, 0.6, 0.8]), np.array([0, 1, 1, 0])
    assert binary_ece(probabilities, outcomes, bins=2) == pytest.approx((0.35 + 0.2) / 2)


def test_ece_with_bins_of_equal_width_equals_hand_computed_value():
    # Below 0.5: one cell, gap 0.1. Above: mean 0.7, frequency 2/3, gap 1/30, three cells.
    probabilities, outcomes = np.array([0.1, 0.6, 0.7, 0.8]), np.array([0, 1, 0, 1])
    assert binary_ece(probabilities, outcomes, bins=2, scheme="width") == pytest.approx(
        0.25 * 0.1 + 0.75 * (0.7 - 2 / 3)
    )


def test_bins_of_equal_mass_hold_equal_counts():
    points = reliability(np.linspace(0, 1, 100) ** 4, np.zeros(100), bins=10)
    assert points.count.tolist() == [10] * 10


def test_probability_of_one_falls_into_the_last_bin():
    assert reliability(np.array([1.0]), np.array([1]), bins=10, scheme="width").count.tolist() == [1]


@given(
    st.lists(st.tuples(st.sampled_from([0.1, 0.2, 0.7]), st.booleans()), min_size=1, max_size=20),
    st.randoms(use_true_random=False),
)
@settings(deadline=None)
def test_ece_does_not_depend_on_the_order_of_ties(cells, random):
    mixed = cells.copy()
    random.shuffle(mixed)
    assert binary_ece(*np.array(cells, dtype=float).T, bins=4) == pytest.approx(
        binary_ece(*np.array(mixed, dtype=float).T, bins=4)
    )


def test_calibrated_probabilities_have_a_small_error():
    rng = np.random.default_rng(0)
    probabilities = rng.beta(0.5, 2, 50_000)
    assert binary_ece(probabilities, rng.random(50_000) < probabilities) < 0.01


def test_constant_base_rate_has_zero_error_and_zero_skill():
    targets = np.array([[1], [0], [0], [0]])
    report = multilabel_calibration(np.full((4, 1), 0.25), targets, labels=("joy",))
    assert report.macro_ece == pytest.approx(0)
    assert report.per_label[0].brier_skill == pytest.approx(0)


def test_proper_scores_equal_those_of_scikit_learn():
    rng = np.random.default_rng(1)
    probabilities, targets = rng.random((200, 3)), rng.random((200, 3)) < 0.3
    report = multilabel_calibration(probabilities, targets, labels=("a", "b", "c"))
    for c, entry in enumerate(report.per_label):
        assert entry.brier == pytest.approx(brier_score_loss(targets[:, c], probabilities[:, c]))
        assert entry.nll == pytest.approx(log_loss(targets[:, c], probabilities[:, c]))


def test_label_without_positives_has_no_skill_value():
    report = multilabel_calibration(
        np.full((3, 2), 0.1), np.array([[1, 0], [0, 0], [0, 0]]), labels=("joy", "grief")
    )
    assert report.per_label[1].brier_skill is None
    json.dumps(report.to_dict(), allow_nan=False)


def test_weighted_ece_is_weighted_by_support():
    # joy is calibrated on average; anger predicts 0.9 at frequency 0.25: gap 0.65, support 1 of 3.
    probabilities = np.tile([0.5, 0.9], (4, 1))
    targets = np.array([[1, 1], [1, 0], [0, 0], [0, 0]])
    report = multilabel_calibration(probabilities, targets, labels=("joy", "anger"))
    assert report.macro_ece == pytest.approx(0.65 / 2)
    assert report.weighted_ece == pytest.approx(0.65 / 3)


def test_restricted_ece_ignores_unlikely_cells():
    probabilities = np.array([[0.01, 0.5], [0.01, 0.5]])
    assert restricted_ece(probabilities, np.array([[1, 1], [1, 1]])) == (pytest.approx(0.5), 2)
    assert restricted_ece(np.full((1, 2), 0.1), np.zeros((1, 2))) == (None, 0)


def test_certain_wrong_prediction_has_a_finite_loss():
    report = singlelabel_calibration(np.array([[1.0, 0.0]]), np.array([1]), labels=("a", "b"))
    assert report.nll == pytest.approx(-np.log(1e-12))
    assert report.brier == pytest.approx(2.0)


def test_single_label_ece_equals_hand_computed_value():
    # Confidence 0.8 four times, right twice: top error 0.3. Each class is off by 0.3 as well.
    probabilities = np.array([[0.8, 0.2], [0.8, 0.2], [0.8, 0.2], [0.8, 0.2]])
    report = singlelabel_calibration(probabilities, np.array([0, 0, 1, 1]), labels=("a", "b"))
    assert report.top_ece == pytest.approx(0.3)
    assert report.classwise_ece == pytest.approx(0.3)
    assert report.brier == pytest.approx((2 * 0.04 + 2 * 0.64) * 2 / 4)
