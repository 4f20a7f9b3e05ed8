import numpy as np
import pytest
from scipy.special import expit, softmax
from scipy.stats import binom

from erc.errors import InputError
from erc.uncertainty.conformal import ConformalSets, FalseNegativeControl, cross_fitted_sets


def test_class_threshold_equals_hand_computed_value():
    # Nine calibration scores, alpha 0.2: floor(10 * 0.2) - 1 = 1 score may lie below the threshold.
    true = np.arange(1, 10) / 10
    sets = ConformalSets.fit(np.column_stack([true, 1 - true]), np.zeros(9, dtype=int), alpha=0.2)
    assert sets.thresholds[0] == pytest.approx(0.2)


def test_class_with_too_few_examples_is_in_every_set():
    probabilities = np.array([[0.9, 0.1]] * 20 + [[0.4, 0.6]] * 8)
    sets = ConformalSets.fit(probabilities, np.array([0] * 20 + [1] * 8), alpha=0.1)
    assert sets.thresholds[1] == 0.0
    assert sets.sets(np.array([[1.0, 0.0]])).tolist() == [[True, True]]


def test_long_and_short_dialogues_have_equal_weight():
    # 9 dialogues of one turn at 0.8, and one of 100 turns at 0.1: at alpha 0.2 the single dialogue may be
    # missed.
    true = np.array([0.8] * 9 + [0.1] * 100)
    groups = np.array([*range(9), *[9] * 100])
    probabilities = np.column_stack([true, 1 - true])
    classes = np.zeros(109, dtype=int)
    assert ConformalSets.fit(probabilities, classes, alpha=0.2, groups=groups).thresholds[0] == pytest.approx(
        0.8
    )
    assert ConformalSets.fit(probabilities, classes, alpha=0.2).thresholds[0] == pytest.approx(0.1)


def dialogues(count, rng):
    """Miscalibrated softmax scores, targets and groups for dialogues of 1 to 8 correlated turns."""
    sizes = rng.integers(1, 9, count)
    groups = np.repeat(np.arange(count), sizes)
    signal = rng.normal(size=(len(groups), 3)) + rng.normal(size=(count, 3))[groups]
    targets = (signal + rng.gumbel(size=signal.shape)).argmax(axis=1)
    return softmax(2 * signal, axis=1), targets, groups


def one_turn_each(groups, rng):
    order = rng.permutation(len(groups))
    return order[np.unique(groups[order], return_index=True)[1]]


def test_sets_cover_a_random_turn_of_a_new_dialogue():
    rng = np.random.default_rng(0)
    covered = tried = 0
    for _ in range(200):
        calibration, fresh = dialogues(60, rng), dialogues(10, rng)
        sets = ConformalSets.fit(*calibration[:2], alpha=0.2, groups=calibration[2])
        rows = one_turn_each(fresh[2], rng)
        hits = sets.sets(fresh[0][rows])[np.arange(len(rows)), fresh[1][rows]]
        covered, tried = covered + hits.sum(), tried + len(hits)
    # Coverage is at least 1 - alpha within a binomial band, and sets do not hold every class.
    assert covered >= binom.ppf(0.001, tried, 0.8)
    assert covered / tried < 0.88


def test_false_negative_control_equals_hand_computed_value():
    # Four utterances with one true label each: a miss costs 1/5, and 1/5 is reserved for the new utterance.
    probabilities = np.array([[0.9], [0.7], [0.5], [0.3]])
    assert FalseNegativeControl.fit(probabilities, np.ones((4, 1)), alpha=0.4).threshold == 0.5
    assert FalseNegativeControl.fit(probabilities, np.ones((4, 1)), alpha=0.39).threshold == 0.3


def test_false_negative_control_needs_enough_dialogues():
    with pytest.raises(InputError, match="at least 9 groups"):
        FalseNegativeControl.fit(np.full((8, 1), 0.5), np.ones((8, 1)), alpha=0.1)


def test_false_negative_rate_is_controlled_over_new_dialogues():
    rng = np.random.default_rng(1)

    def draw(count):
        groups = np.repeat(np.arange(count), rng.integers(1, 9, count))
        logits = rng.normal(-1, 1.5, size=(len(groups), 6)) + rng.normal(size=(count, 1))[groups]
        return expit(2 * logits), rng.random(logits.shape) < expit(logits), groups

    rates = []
    for _ in range(200):
        probabilities, targets, groups = draw(60)
        control = FalseNegativeControl.fit(probabilities, targets, alpha=0.15, groups=groups)
        probabilities, targets, groups = draw(10)
        rows = one_turn_each(groups, rng)
        chosen, true = control.sets(probabilities[rows]), targets[rows]
        rates.append(((true & ~chosen).sum(axis=1) / np.maximum(true.sum(axis=1), 1)).mean())
    error = np.std(rates) / np.sqrt(len(rates))
    assert np.mean(rates) <= 0.15 + 3 * error
    assert np.mean(rates) >= 0.15 - 1 / 61 - 3 * error - 0.01  # tight up to 1/(G + 1)


def test_cross_fitted_sets_equal_hand_computed_values():
    """Folds of nine rows: the threshold of each class is the lowest score of the other fold, at alpha 0.1."""
    scores = np.array([*np.linspace(0.5, 0.9, 9), 0.4, *np.linspace(0.6, 0.9, 8)])
    probabilities = np.column_stack([scores, 1 - scores])
    fold = np.repeat([0, 1], 9)
    found = cross_fitted_sets(probabilities, np.zeros(18, dtype=int), fold, alpha=0.1)
    # Class 0: threshold 0.4 for fold 0, 0.5 for fold 1, which misses its score of 0.4. Class 1 has no
    # examples and is in every set.
    assert found.coverage == pytest.approx(17 / 18)
    assert found.mean_size == pytest.approx((17 + 18) / 18)
    assert found.empty == 0.0


def test_cross_fitted_multilabel_sets_equal_hand_computed_values():
    probabilities = np.tile(np.array([[0.9, 0.2], [0.5, 0.1]]), (10, 1))
    targets = np.tile(np.array([[1, 0], [1, 0]]), (10, 1))
    targets[0] = [1, 1]
    found = cross_fitted_sets(probabilities, targets, np.arange(20) % 2, alpha=0.2)
    # Fold 0 has the scores 0.9, and 0.2 in its first row; fold 1 has 0.5. Each threshold is that of the other
    # fold: 0.9 with one miss of a half allowed for fold 1, which then misses all; 0.5 for fold 0.
    assert found.coverage == pytest.approx(1 - (10 + 0.5) / 20)
    assert found.mean_size == pytest.approx(0.5)
    assert found.empty == pytest.approx(0.5)


def test_cross_fitted_sets_cover_equally_weighted_dialogues():
    rng = np.random.default_rng(4)
    probabilities, targets, groups = dialogues(400, rng)
    found = cross_fitted_sets(probabilities, targets, groups % 5, groups=groups, alpha=0.2)
    # The promise is 0.8 for each class. A dialogue with many turns of a class has them surer, so that the
    # coverage over all turns of a dialogue lies above it (0.849 on average over seeds).
    assert 0.8 < found.coverage < 0.88
    assert 1.0 < found.mean_size < 3.0


def test_cross_fitted_coverage_falls_with_alpha():
    probabilities, targets, groups = dialogues(400, np.random.default_rng(4))
    found = [
        cross_fitted_sets(probabilities, targets, groups % 5, groups=groups, alpha=alpha)
        for alpha in (0.05, 0.2, 0.4)
    ]
    assert found[0].coverage > found[1].coverage > found[2].coverage
    assert found[0].mean_size > found[1].mean_size > found[2].mean_size


def test_cross_fitted_sets_with_too_few_dialogues_return_none():
    probabilities, targets, groups = dialogues(10, np.random.default_rng(2))
    assert cross_fitted_sets(probabilities, targets, groups % 5, groups=groups) is None
