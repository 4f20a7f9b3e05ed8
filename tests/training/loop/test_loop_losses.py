"""Losses, class weights and weight averaging, against values computed by hand."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from erc.training.loop.ema import WeightAverage
from erc.training.loop.losses import (
    as_tensor,
    class_weights,
    emcoder_weights,
    weighted_bce,
    weighted_cross_entropy,
)


def test_emcoder_class_weights_of_goemotions_equal_hand_computed_values() -> None:
    """77 and 14,219 of 43,410 training texts: 1 + ln(43334 / 78) and 1 + ln(29192 / 14220)."""
    weights = emcoder_weights(np.array([77, 14219]), 43410)
    assert weights == pytest.approx([7.3200, 1.7193], abs=1e-4)


def test_emcoder_class_weights_stay_within_their_bounds() -> None:
    weights = emcoder_weights(np.array([0, 10**9, 500]), 10**9)
    assert weights[0] == 20.0
    assert weights[1] == 0.1
    assert emcoder_weights(np.array([500]), 1000)[0] == pytest.approx(1.0)


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("min_over_count", [0.25, 1.0, 0.5]),  # 10 / 40, 10 / 10, 10 / 20
        ("inverse", [70 / 120, 70 / 30, 70 / 60]),  # 70 examples of 3 classes: n / (C count)
        (
            "sqrt_inverse",
            [
                70 / (40**0.5 * d) if (d := 40**0.5 + 10**0.5 + 20**0.5) else 0,
                70 / (10**0.5 * d),
                70 / (20**0.5 * d),
            ],
        ),
    ],
)
def test_class_weights_equal_hand_computed_values(kind: str, expected: list[float]) -> None:
    assert class_weights(np.array([40, 10, 20]), kind) == pytest.approx(expected)  # type: ignore[arg-type]


def test_class_weights_by_effective_number_equal_hand_computed_values() -> None:
    """With beta = 0.5, 1 and 2 examples count 1 and 1.5: weights 1 and 2/3, scaled by 3 / (1 + 4/3)."""
    assert class_weights(np.array([1, 2]), "effective_number", beta=0.5) == pytest.approx([9 / 7, 6 / 7])


@settings(deadline=None)
@given(
    st.lists(st.integers(1, 5000), min_size=2, max_size=9),
    st.sampled_from(["inverse", "sqrt_inverse", "effective_number"]),
)
def test_class_weights_have_mean_one_and_are_larger_for_rare_classes(counts: list[int], kind: str) -> None:
    weights = class_weights(np.array(counts), kind)  # type: ignore[arg-type]
    assert weights is not None
    assert (weights * counts).sum() / sum(counts) == pytest.approx(1.0)
    assert weights[np.argmin(counts)] == weights.max()


@pytest.mark.parametrize("kind", ["min_over_count", "inverse", "sqrt_inverse", "effective_number"])
def test_class_weights_of_a_class_without_examples_are_zero(kind: str) -> None:
    weights = class_weights(np.array([5, 0, 10]), kind)  # type: ignore[arg-type]
    assert weights is not None
    assert weights[1] == 0.0
    assert np.isfinite(weights).all()


def test_class_weights_of_kind_none_return_none() -> None:
    assert class_weights(np.array([1, 2]), "none") is None
    assert as_tensor(None) is None


def test_weighted_bce_weights_positives_only() -> None:
    logits, targets = torch.zeros(1, 2), torch.tensor([[1.0, 0.0]])
    assert weighted_bce(logits, targets, torch.tensor([3.0, 3.0])).item() == pytest.approx(
        (3 + 1) * math.log(2) / 2
    )
    assert weighted_bce(logits, targets, None).item() == pytest.approx(math.log(2))


def test_weighted_bce_of_half_precision_logits_is_computed_in_fp32() -> None:
    loss = weighted_bce(torch.tensor([[20.0]], dtype=torch.bfloat16), torch.ones(1, 1), None)
    assert loss.dtype == torch.float32
    assert loss.item() == pytest.approx(math.log1p(math.exp(-20)), rel=1e-3)


def test_weighted_cross_entropy_with_label_smoothing_equals_hand_computed_value() -> None:
    """Log-probabilities of (ln 3, 0) are ln .75 and ln .25; smoothing 0.2 weights them by .9 and .1."""
    loss = weighted_cross_entropy(
        torch.tensor([[math.log(3.0), 0.0]]), torch.tensor([0]), None, label_smoothing=0.2
    )
    assert loss.item() == pytest.approx(-0.9 * math.log(0.75) - 0.1 * math.log(0.25))


def test_weighted_cross_entropy_ignores_unlabelled_turns() -> None:
    logits = torch.tensor([[2.0, 0.0], [0.0, 5.0], [1.0, 1.0]])
    weights = torch.tensor([2.0, 1.0])
    some = weighted_cross_entropy(logits, torch.tensor([0, -100, 1]), weights)
    torch.testing.assert_close(some, weighted_cross_entropy(logits[[0, 2]], torch.tensor([0, 1]), weights))
    assert some.item() == pytest.approx((2 * math.log1p(math.exp(-2)) + math.log(2)) / 3)


def test_weighted_cross_entropy_without_labels_is_zero_with_zero_gradient() -> None:
    logits = torch.randn(2, 3, requires_grad=True)
    loss = weighted_cross_entropy(logits, torch.tensor([-100, -100]), None)
    loss.backward()
    assert loss.item() == 0.0
    assert logits.grad is not None
    assert not logits.grad.any()


# --- weight averaging


class _One(nn.Module):
    def __init__(self, value: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.tensor([value]))
        self.frozen = nn.Parameter(torch.tensor([9.0]), requires_grad=False)

    def set(self, value: float) -> None:
        with torch.no_grad():
            self.weight.fill_(value)


def test_weight_average_equals_hand_computed_value() -> None:
    """Warm-up decays are 2/11 and 3/12: 1 -> 2/11 + 9/11 * 3 -> 1/4 of that + 3/4 of 5."""
    model = _One(1.0)
    average = WeightAverage(model, decay=0.999)
    model.set(3.0)
    average.update(model)
    assert average.average["weight"].item() == pytest.approx(29 / 11)
    model.set(5.0)
    average.update(model)
    assert average.average["weight"].item() == pytest.approx(0.25 * 29 / 11 + 0.75 * 5)
    assert set(average.average) == {"weight"}


def test_weight_average_decay_is_limited_to_the_given_value() -> None:
    model = _One(0.0)
    average = WeightAverage(model, decay=0.1)
    model.set(1.0)
    average.update(model)
    assert average.average["weight"].item() == pytest.approx(0.9)


def test_weight_average_restores_the_weights_after_an_error() -> None:
    model = _One(1.0)
    average = WeightAverage(model, decay=0.5)
    model.set(4.0)
    with pytest.raises(RuntimeError, match="on purpose"):
        _fail_within(average, model)
    assert model.weight.item() == 4.0


def test_weight_average_follows_a_model_moved_to_another_device() -> None:
    model = _One(1.0)
    average = WeightAverage(model, decay=0.5)
    average.update(model.to("meta"))
    assert {value.device.type for value in average.average.values()} == {"meta"}


def _fail_within(average: WeightAverage, model: _One) -> None:
    with average.applied(model):
        assert model.weight.item() == 1.0
        raise RuntimeError("on purpose")


def test_weight_average_resumes_from_its_file(tmp_path: Path) -> None:
    model = _One(1.0)
    kept = WeightAverage(model, decay=0.999)
    model.set(2.0)
    for _ in range(3):
        kept.update(model)
    kept.save(tmp_path / "ema.safetensors")
    read = WeightAverage(_One(-1.0), decay=0.999)
    read.load(tmp_path / "ema.safetensors")
    for average in (kept, read):
        average.update(model)
    assert read.steps == kept.steps == 4
    assert torch.equal(read.average["weight"], kept.average["weight"])
    read.copy_to(model)
    assert torch.equal(model.weight, kept.average["weight"])
