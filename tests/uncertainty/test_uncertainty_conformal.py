import json

import numpy as np
import pytest
from scipy.special import expit, softmax
from scipy.stats import binom

from erc.errors import ArtefactError, InputError
from erc.uncertainty.conformal import ConformalSets, FalseNegativeControl, false_negative_rate


def test_marginal_threshold_by_hand():
    # Nine calibration scores, alpha 0.2: floor(10 * 0.2) - 1 = 1 score may lie below the threshold.
    true = np.arange(1, 10) / 10
    sets = ConformalSets.fit(
        np.column_stack([true, 1 - true]), np.zeros(9, dtype=int), alpha=0.2, mondrian=False
    )
    assert sets.thresholds[0] == pytest.approx(0.2)


def test_class_with_too_few_examples_stands_in_every_set():
    probabilities = np.array([[0.9, 0.1]] * 20 + [[0.4, 0.6]] * 8)
    sets = ConformalSets.fit(probabilities, np.array([0] * 20 + [1] * 8), alpha=0.1)
    assert sets.thresholds[1] == 0.0
    assert sets.sets(np.array([[1.0, 0.0]])).tolist() == [[True, True]]


def test_long_dialogue_weighs_no_more_than_a_short_one():
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
    """Softmax scores (unfit for their targets on purpose), targets and groups of dialogues of 1 to 8 turns that share a mood."""
    sizes = rng.integers(1, 9, count)
    groups = np.repeat(np.arange(count), sizes)
    signal = rng.normal(size=(len(groups), 3)) + rng.normal(size=(count, 3))[groups]
    targets = (signal + rng.gumbel(size=signal.shape)).argmax(axis=1)
    return softmax(2 * signal, axis=1), targets, groups


def one_turn_each(groups, rng):
    order = rng.permutation(len(groups))
    return order[np.unique(groups[order], return_index=True)[1]]


@pytest.mark.parametrize("mondrian", [False, True])
def test_sets_cover_a_random_turn_of_a_new_dialogue(mondrian):
    rng = np.random.default_rng(0)
    covered = tried = 0
    for _ in range(200):
        calibration, fresh = dialogues(60, rng), dialogues(10, rng)
        sets = ConformalSets.fit(*calibration[:2], alpha=0.2, mondrian=mondrian, groups=calibration[2])
        rows = one_turn_each(fresh[2], rng)
        hits = sets.sets(fresh[0][rows])[np.arange(len(rows)), fresh[1][rows]]
        covered, tried = covered + hits.sum(), tried + len(hits)
    # At least 1 - alpha within a binomial band, and not by giving everything away.
    assert covered >= binom.ppf(0.001, tried, 0.8)
    assert covered / tried < 0.88


def test_false_negative_control_by_hand():
    # Four utterances of one true label each: missing one costs 1/5, and 1/5 stands for the unseen one.
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
        rates.append(false_negative_rate(control.sets(probabilities[rows]), targets[rows]).mean())
    error = np.std(rates) / np.sqrt(len(rates))
    assert np.mean(rates) <= 0.15 + 3 * error
    assert np.mean(rates) >= 0.15 - 1 / 61 - 3 * error - 0.01  # tight up to 1/(G + 1)


def test_false_negative_rate_by_hand():
    rates = false_negative_rate(
        np.array([[1, 0, 0], [0, 0, 0]], dtype=bool), np.array([[1, 1, 0], [0, 0, 0]])
    )
    assert rates.tolist() == [0.5, 0.0]


@pytest.mark.parametrize(
    "fitted", [ConformalSets((0.1, 0.0), 0.1, True), FalseNegativeControl(0.25, 0.1)], ids=["sets", "control"]
)
def test_fitted_sets_survive_json_and_refuse_other_records(fitted):
    record = json.loads(json.dumps(fitted.to_dict()))
    assert type(fitted).from_dict(record) == fitted
    with pytest.raises(ArtefactError):
        type(fitted).from_dict({**record, "version": 9})
