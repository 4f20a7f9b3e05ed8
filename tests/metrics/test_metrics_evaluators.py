import numpy as np
import pytest
from scipy.special import expit
from sklearn.metrics import f1_score, log_loss

from erc.metrics.evaluators import MultiLabelEvaluator, SingleLabelEvaluator

LABELS = ("joy", "anger", "fear")


@pytest.fixture
def scored():
    rng = np.random.default_rng(0)
    targets = rng.random((400, 3)) < [0.4, 0.2, 0.1]
    return rng.normal(targets * 3.0 - 3.0, 1.0), targets


def test_primary_metric_is_in_the_returned_figures(scored):
    for evaluator, targets in (
        (MultiLabelEvaluator(LABELS), scored[1]),
        (SingleLabelEvaluator(LABELS), scored[1].argmax(axis=1)),
    ):
        assert evaluator.primary_metric in evaluator(scored[0], targets)
        assert evaluator.greater_is_better is True


def test_figures_at_threshold_one_half_equal_scikit_learn(scored):
    answers = MultiLabelEvaluator(LABELS)(*scored)
    assert answers["macro_f1_at_half"] == pytest.approx(f1_score(scored[1], scored[0] >= 0, average="macro"))
    assert answers["micro_f1_at_half"] == pytest.approx(f1_score(scored[1], scored[0] >= 0, average="micro"))
    assert answers["loss"] == pytest.approx(log_loss(scored[1].ravel(), expit(scored[0]).ravel()))


def test_primary_metric_depends_on_the_ranking_only(scored):
    level, shifted = (MultiLabelEvaluator(LABELS)(scored[0] + shift, scored[1]) for shift in (0.0, 2.0))
    assert shifted["macro_f1"] == pytest.approx(level["macro_f1"], abs=0.02)
    assert abs(shifted["macro_f1_at_half"] - level["macro_f1_at_half"]) > 0.02


def test_single_label_figures_equal_hand_computed_values():
    answers = SingleLabelEvaluator(LABELS)(np.log([[0.5, 0.25, 0.25], [0.5, 0.25, 0.25]]), np.array([0, 1]))
    assert answers["accuracy"] == 0.5
    assert answers["weighted_f1"] == pytest.approx((2 / 3 + 0) / 2)
    assert answers["loss"] == pytest.approx(-(np.log(0.5) + np.log(0.25)) / 2)


def test_logits_of_another_width_are_refused():
    with pytest.raises(ValueError, match="2 labels where 3"):
        SingleLabelEvaluator(LABELS)(np.zeros((4, 2)), np.zeros(4, dtype=int))
