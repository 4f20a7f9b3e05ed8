import numpy as np
import pytest
from sklearn.metrics import recall_score

from erc.metrics.cooccurrence import confused_pairs, cooccurrence_confusion


@pytest.fixture
def cells():
    rng = np.random.default_rng(0)
    return rng.random((60, 4)) < 0.4, rng.random((60, 4)) < 0.4


@pytest.mark.parametrize("only_errors", [False, True])
def test_diagonal_is_the_recall(cells, only_errors):
    matrix = cooccurrence_confusion(*cells, only_errors=only_errors)
    np.testing.assert_allclose(np.diag(matrix), recall_score(cells[1], cells[0], average=None))


def test_cooccurring_true_labels_are_not_counted_as_errors():
    both = np.array([[1, 1], [1, 1], [1, 0]])
    decisions = np.array([[1, 1], [1, 1], [1, 1]])
    assert cooccurrence_confusion(decisions, both)[0, 1] == 1.0
    assert cooccurrence_confusion(decisions[:2], both[:2], only_errors=True)[0, 1] == 0.0
    assert (
        cooccurrence_confusion(decisions, both, only_errors=True)[0, 1] == 1.0
    )  # one utterance lacks label 1, and label 1 was predicted for it


def test_label_without_support_has_an_empty_row():
    assert cooccurrence_confusion(np.array([[1, 1]]), np.array([[1, 0]]))[1].tolist() == [0.0, 0.0]


def test_confused_pairs_are_sorted_by_rate_and_exclude_single_cases():
    targets = np.array([[1, 0, 0]] * 6)
    decisions = np.array([[0, 1, 0]] * 4 + [[0, 0, 1]] + [[1, 0, 0]])
    pairs = confused_pairs(decisions, targets, labels=("anger", "annoyance", "fear"))
    assert [(pair.true, pair.decided, pair.count) for pair in pairs] == [("anger", "annoyance", 4)]
    assert pairs[0].share == pytest.approx(4 / 6)
