import numpy as np
import pytest
from scipy.special import logit

from erc.uncertainty.calibration import Identity
from erc.uncertainty.crossfit import assign_folds, cross_fitted, cross_fitted_classes
from erc.uncertainty.thresholds import LabelThresholds


@pytest.fixture
def dialogues():
    return np.repeat([f"d{number}" for number in range(30)], 8)


def test_folds_keep_dialogues_together(dialogues):
    targets = np.random.default_rng(0).integers(0, 3, size=len(dialogues))
    for labels in (targets, targets[:, None] == np.arange(3)):
        fold = assign_folds(labels, groups=dialogues, folds=5, seed=1)
        assert all(len(set(fold[dialogues == name])) == 1 for name in set(dialogues))
        assert set(fold) == set(range(5))


def test_folds_of_single_labels_are_stratified(dialogues):
    # Half the dialogues have only class 0, half only class 1: unstratified folds would often be uneven.
    targets = np.repeat(np.arange(30) % 2, 8)
    fold = assign_folds(targets, groups=dialogues, folds=5, seed=0)
    assert all(targets[fold == number].mean() == pytest.approx(0.5) for number in range(5))


def test_class_rarer_than_the_folds_raises_no_warning(dialogues):
    targets = np.zeros(len(dialogues), dtype=int)
    targets[0] = 1
    assert set(assign_folds(targets, groups=dialogues, folds=5)) == set(range(5))


def test_folds_with_the_same_seed_are_equal(dialogues):
    targets = np.zeros((len(dialogues), 2), dtype=bool)
    first, again, other = (assign_folds(targets, groups=dialogues, seed=seed) for seed in (3, 3, 4))
    np.testing.assert_array_equal(first, again)
    assert (first != other).any()


def test_more_folds_than_dialogues_is_refused(dialogues):
    with pytest.raises(ValueError, match="at most the 30 groups"):
        assign_folds(np.zeros(len(dialogues), dtype=int), groups=dialogues, folds=31)


def test_fitting_excludes_the_held_out_fold():
    n = 20  # each row's logits equal its row number
    targets = np.random.default_rng(0).random((n, 3)) < 0.5
    logits = np.arange(n, dtype=float)[:, None] + np.zeros(3)
    seen = []

    def remember(values, _):
        seen.append(set(values[:, 0]))
        return Identity("sigmoid")

    def remember_too(probabilities, _):
        seen.append(set(np.round(logit(probabilities[:, 0]))))
        return LabelThresholds.constant(0.5, 3)

    fitted = cross_fitted(logits, targets, folds=4, calibrate=remember, threshold=remember_too)
    for number in range(4):
        rows = set(logits[fitted.fold != number, 0])
        assert seen[2 * number] == seen[2 * number + 1] == rows


def test_cross_fitted_f1_on_noise_does_not_beat_the_base_rate():
    # In-sample thresholds on noise beat the base rate by chance.
    # Out of fold, they must not beat the F1 of "always yes", 2r/(1+r).
    rng = np.random.default_rng(0)
    logits, targets = rng.normal(size=(400, 20)), rng.random((400, 20)) < 0.1
    decisions = cross_fitted(logits, targets).decisions
    tp = (decisions & targets).sum()
    assert 2 * tp / (decisions.sum() + targets.sum()) < 0.2


def test_classes_are_calibrated_out_of_fold():
    rng = np.random.default_rng(1)
    logits = rng.normal(size=(300, 4)) * 3
    fitted = cross_fitted_classes(logits, rng.integers(0, 4, 300), groups=np.arange(300) // 10)
    np.testing.assert_allclose(fitted.probabilities.sum(axis=1), 1.0)
    assert fitted.probabilities.max() < 0.6  # the logits are noise, so calibration must reduce confidence
    np.testing.assert_array_equal(fitted.decisions, logits.argmax(axis=1))
