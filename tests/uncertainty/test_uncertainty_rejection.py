import json

import numpy as np
import pytest
from sklearn.metrics import f1_score

from erc.uncertainty.rejection import rejection_curve


@pytest.fixture
def scored():
    rng = np.random.default_rng(0)
    targets = rng.random((400, 5)) < np.array([0.5, 0.3, 0.2, 0.1, 0.05])
    flips = rng.random(400) < 0.4
    decisions = np.where(flips[:, None], rng.random((400, 5)) < 0.3, targets)
    return flips + rng.random(400), decisions, targets


def test_f1_at_full_coverage_equals_macro_f1(scored):
    curve = rejection_curve(*scored, coverages=(1.0,))
    assert curve.macro_f1[0] == pytest.approx(f1_score(scored[2], scored[1], average="macro"))
    assert curve.micro_f1[0] == pytest.approx(f1_score(scored[2], scored[1], average="micro"))
    assert curve.random_macro_f1[0] == pytest.approx(curve.macro_f1[0])


def test_rejecting_wrong_turns_beats_random_rejection(scored):
    curve = rejection_curve(*scored, coverages=(0.6,))
    assert curve.macro_f1[0] > 0.95
    assert curve.random_macro_f1[0] == pytest.approx(
        f1_score(scored[2], scored[1], average="macro"), abs=0.05
    )


def test_supports_count_the_remaining_positives(scored):
    uncertainty, decisions, targets = scored
    curve = rejection_curve(uncertainty, decisions, targets, coverages=(0.5,))
    np.testing.assert_array_equal(curve.supports[0], targets[np.argsort(uncertainty)[:200]].sum(axis=0))


def test_ties_at_the_cutoff_are_kept_and_counted():
    curve = rejection_curve(np.array([0.0, 1.0, 1.0, 1.0]), np.eye(4) > 0, np.eye(4), coverages=(0.5,))
    assert curve.coverage.tolist() == [1.0]


def test_curve_is_json_serialisable(scored):
    assert len(json.loads(json.dumps(rejection_curve(*scored).to_dict()))["supports"]) == 11
