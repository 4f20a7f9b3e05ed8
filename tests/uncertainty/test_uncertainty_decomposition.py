import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from erc.uncertainty.decomposition import Uncertainty, binary_decomposition, categorical_decomposition

unit = st.floats(0.0, 1.0, width=32)


def test_binary_decomposition_of_two_opposite_samples_is_fully_epistemic():
    result = binary_decomposition(np.array([[[0.0]], [[1.0]]]))
    assert result.total[0, 0] == pytest.approx(np.log(2))
    assert result.aleatoric[0, 0] == 0.0
    assert result.epistemic[0, 0] == pytest.approx(np.log(2))


def test_binary_decomposition_equals_hand_computed_values():
    # p = 0.2 and 0.6: mean 0.4.
    def entropy(p: float) -> float:
        return -p * np.log(p) - (1 - p) * np.log(1 - p)

    result = binary_decomposition(np.array([[[0.2]], [[0.6]]]))
    assert result.total[0, 0] == pytest.approx(entropy(0.4))
    assert result.aleatoric[0, 0] == pytest.approx((entropy(0.2) + entropy(0.6)) / 2)


@given(arrays(np.float32, (1, 3, 4), elements=unit))
@settings(deadline=None)
def test_one_sample_has_exactly_zero_epistemic_uncertainty(samples):
    assert (binary_decomposition(samples).epistemic == 0.0).all()


@given(arrays(np.float32, (5, 3, 4), elements=unit))
@settings(deadline=None)
def test_binary_parts_are_bounded_and_sum_to_the_total(samples):
    result = binary_decomposition(samples)
    assert (result.epistemic >= 0).all()
    assert (result.aleatoric >= 0).all()
    assert (result.total <= np.log(2) + 1e-12).all()
    np.testing.assert_allclose(result.aleatoric + result.epistemic, result.total, atol=1e-15)


@given(arrays(np.float32, (5, 3, 4), elements=unit), st.permutations(range(5)))
@settings(deadline=None)
def test_binary_decomposition_ignores_the_order_of_samples(samples, order):
    np.testing.assert_allclose(
        binary_decomposition(samples).epistemic,
        binary_decomposition(samples[list(order)]).epistemic,
        atol=1e-12,
    )


def test_epistemic_part_is_never_negative_after_rounding():
    equal = np.tile(
        np.linspace(0, 1, 1_000), (7, 1, 1)
    )  # equal samples: the difference of the entropies is only rounding error
    assert binary_decomposition(equal).epistemic.min() == 0.0


def test_half_precision_samples_near_one_keep_their_entropy():
    value = np.float16(0.9995)
    assert binary_decomposition(np.full((2, 1, 1), value)).total[0, 0] == pytest.approx(0.0042, abs=1e-3)


def test_utterance_uncertainty_is_the_sum_over_labels():
    result = binary_decomposition(np.full((3, 2, 28), 0.5)).utterance()
    np.testing.assert_allclose(result.total, [28 * np.log(2)] * 2)
    assert result.epistemic.shape == (2,)


def test_categorical_decomposition_of_certain_samples_that_disagree_is_epistemic():
    result = categorical_decomposition(np.eye(4)[:, None, :])
    assert result.total[0] == pytest.approx(np.log(4))
    assert result.epistemic[0] == pytest.approx(np.log(4))


def test_categorical_decomposition_refuses_sigmoids():
    with pytest.raises(ValueError, match="binary_decomposition"):
        categorical_decomposition(np.full((2, 1, 7), 0.5))


def test_decomposition_refuses_logits():
    with pytest.raises(ValueError, match="logits"):
        binary_decomposition(np.array([[[2.5]]]))


def test_uncertainty_arrays_are_read_only():
    result = Uncertainty(np.ones(2), np.ones(2), np.zeros(2))
    with pytest.raises(ValueError, match="read-only"):
        result.total[0] = 3.0


def test_uncertainty_leaves_the_callers_array_writable():
    mine = np.ones(2)
    Uncertainty(mine, mine, mine)
    mine[0] = 2.0
    assert mine[0] == 2.0
