from functools import partial

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score

from erc.uncertainty.losses import hamming_loss, jaccard_loss, zero_one_loss
from erc.uncertainty.resampling import group_draws
from erc.uncertainty.selective import (
    augrc,
    aurc,
    coverage_at_risk,
    e_aurc,
    keep_most_certain,
    risk_at_coverage,
    risk_coverage_curve,
    selective_replicates,
    selective_scores,
)

pairs = st.lists(
    st.tuples(st.sampled_from([0.0, 0.1, 0.2, 0.3, 0.9]), st.sampled_from([0.0, 0.25, 1.0])),
    min_size=1,
    max_size=12,
)


def test_aurc_of_three_samples_equals_hand_computed_value():
    # Kept losses 0 | 0 1 | 0 1 0: risks 0, 1/2, 1/3.
    assert aurc(np.array([0.1, 0.2, 0.3]), np.array([0, 1, 0])) == pytest.approx(5 / 18)


def test_augrc_of_three_samples_equals_hand_computed_value():
    # Summed losses over n at coverage 0, 1/3, 2/3, 1: 0, 0, 1/3, 1/3; trapezoids (0 + 1/6 + 1/3) / 3.
    assert augrc(np.array([0.1, 0.2, 0.3]), np.array([0, 1, 0])) == pytest.approx(1 / 6)


def test_areas_without_errors_are_zero():
    assert aurc(np.arange(5.0), np.zeros(5)) == augrc(np.arange(5.0), np.zeros(5)) == 0.0


def test_areas_with_only_errors_are_one_and_one_half():
    assert aurc(np.arange(5.0), np.ones(5)) == pytest.approx(1.0)
    assert augrc(np.arange(5.0), np.ones(5)) == pytest.approx(0.5)


def test_oracle_order_has_zero_excess_and_augrc_of_half_the_squared_error_rate():
    losses = np.array([0] * 7 + [1] * 3)
    assert e_aurc(losses.astype(float), losses) == 0.0
    assert augrc(losses.astype(float), losses) == pytest.approx(0.3**2 / 2)


def test_augrc_equals_its_closed_form_in_auroc():
    rng = np.random.default_rng(0)
    losses = (rng.random(500) < 0.3).astype(float)
    scores = np.round(rng.random(500) + 0.4 * losses, 1)  # many ties
    error = losses.mean()
    assert augrc(scores, losses) == pytest.approx(
        (1 - roc_auc_score(losses, scores)) * error * (1 - error) + error**2 / 2
    )


def test_constant_score_has_the_risk_of_random_rejection():
    losses = np.array([0.0, 1.0, 1.0, 0.0, 0.5])
    assert aurc(np.zeros(5), losses) == pytest.approx(losses.mean())


@given(pairs, st.randoms(use_true_random=False))
@settings(deadline=None)
def test_areas_do_not_depend_on_the_input_order(rows, random):
    mixed = rows.copy()
    random.shuffle(mixed)
    for area in (
        aurc,
        e_aurc,
        augrc,
        partial(risk_at_coverage, coverage=0.4),
        partial(coverage_at_risk, risk=0.2),
    ):
        assert area(*np.array(rows).T) == pytest.approx(area(*np.array(mixed).T), abs=1e-12)


def test_area_of_a_tie_is_the_mean_over_its_orders():
    # Tied second and third: losses 0, then {1, 0}; the two orders give (0 + 1/2 + 1/3)/3 and (0 + 0 + 1/3)/3.
    assert aurc(np.array([0.1, 0.5, 0.5]), np.array([0, 1, 0])) == pytest.approx((5 / 18 + 2 / 18) / 2)


@given(pairs)
@settings(deadline=None)
def test_no_order_beats_the_oracle(rows):
    scores, losses = np.array(rows).T
    assert e_aurc(scores, losses) >= -1e-12
    assert augrc(scores, losses) >= augrc(losses, losses) - 1e-12


@given(pairs)
@settings(deadline=None)
def test_areas_do_not_change_under_a_monotone_transformation(rows):
    scores, losses = np.array(rows).T
    assert aurc(np.exp(3 * scores), losses) == pytest.approx(aurc(scores, losses))


def test_curve_has_one_point_per_distinct_uncertainty():
    curve = risk_coverage_curve(np.array([0.3, 0.1, 0.3, 0.2]), np.array([1, 0, 0, 1]))
    np.testing.assert_allclose(curve.coverage, [0.25, 0.5, 1.0])
    np.testing.assert_allclose(curve.risk, [0.0, 0.5, 0.5])
    np.testing.assert_allclose(curve.threshold, [0.1, 0.2, 0.3])


def test_coverage_at_risk_is_that_of_the_last_crossing():
    scores, losses = np.arange(4.0), np.array([1, 0, 0, 0])
    assert coverage_at_risk(scores, losses, 0.34) == 1.0
    assert coverage_at_risk(scores, losses, 0.2) == 0.0


def test_risk_at_coverage_counts_up_to_the_next_whole_utterance():
    scores, losses = np.arange(4.0), np.array([0, 1, 1, 1])
    assert risk_at_coverage(scores, losses, 0.5) == 0.5
    assert risk_at_coverage(scores, losses, 0.51) == pytest.approx(2 / 3)


def test_replicates_equal_areas_of_the_resampled_rows():
    rng = np.random.default_rng(0)
    scores, losses = rng.random(30).round(1), rng.random(30)
    groups = np.arange(30) // 5
    draws = np.concatenate(list(group_draws(6, 4, seed=7)))
    expected = []
    for row in draws:
        rows = np.repeat(np.arange(30), row[groups])
        expected.append(
            [
                aurc(scores[rows], losses[rows]),
                e_aurc(scores[rows], losses[rows]),
                augrc(scores[rows], losses[rows]),
            ]
        )
    np.testing.assert_allclose(
        selective_replicates(scores, losses, groups=groups, resamples=4, seed=7), expected
    )


def test_interval_contains_the_estimate_and_is_reproducible():
    rng = np.random.default_rng(0)
    losses = (rng.random(400) < 0.3).astype(float)
    scores = losses + np.arange(400) / 300
    first, again = (
        selective_scores(scores, losses, selective_replicates(scores, losses, resamples=200, seed=1))
        for _ in range(2)
    )
    assert first == again
    assert first.aurc.low < first.aurc.estimate < first.aurc.high


def test_keep_most_certain_keeps_all_ties_at_the_cutoff():
    masks = keep_most_certain(np.array([0.5, 0.1, 0.5, 0.9]), [0.5, 0.25])
    assert masks[0].tolist() == [True, True, True, False]
    assert masks[1].tolist() == [False, True, False, False]


def test_nan_is_refused():
    with pytest.raises(ValueError, match="not finite"):
        aurc(np.array([0.1, np.nan]), np.zeros(2))


def test_losses_equal_hand_computed_values():
    decided = np.array([[1, 1, 0, 0], [0, 0, 0, 0], [1, 0, 0, 0]])
    true = np.array([[1, 0, 1, 0], [0, 0, 0, 0], [1, 0, 0, 0]])
    assert zero_one_loss(decided, true).tolist() == [1, 0, 0]
    assert hamming_loss(decided, true).tolist() == [0.5, 0, 0]
    np.testing.assert_allclose(jaccard_loss(decided, true), [2 / 3, 0, 0])
    assert zero_one_loss(np.array([2, 1]), np.array([2, 0])).tolist() == [0, 1]
