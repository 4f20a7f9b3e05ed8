import numpy as np
import pytest

from erc.metrics.discrimination import cell_discrimination, error_discrimination


def test_perfect_ranking_of_errors_has_area_one():
    found = error_discrimination(np.array([0.1, 0.2, 0.9]), np.array([0, 0, 1]))
    assert (found.auroc, found.aupr) == (1.0, 1.0)
    assert found.prevalence == pytest.approx(1 / 3)


def test_constant_score_has_auroc_one_half_and_aupr_of_the_prevalence():
    found = error_discrimination(np.zeros(4), np.array([0, 0, 0, 1]))
    assert (found.auroc, found.aupr) == (0.5, 0.25)


@pytest.mark.parametrize("errors", [[0, 0], [1, 1]])
def test_single_class_has_no_area(errors):
    found = error_discrimination(np.array([0.1, 0.2]), np.array(errors))
    assert found.auroc is None
    assert found.aupr is None
    assert found.count == 2


def test_cells_are_restricted_to_ambiguous_and_to_decided_cells():
    probabilities = np.array([[0.01, 0.5], [0.99, 0.3]])
    decisions, targets = np.array([[0, 1], [1, 0]]), np.array([[0, 0], [1, 0]])
    found = cell_discrimination(np.array([[0.1, 0.7], [0.1, 0.6]]), probabilities, decisions, targets)
    assert {name: part.count for name, part in found.items()} == {"all": 4, "ambiguous": 2, "decided": 2}
    assert found["ambiguous"].auroc == 1.0
    assert found["all"].prevalence == 0.25
