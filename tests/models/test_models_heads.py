"""Heads and their Monte-Carlo samples."""

from __future__ import annotations

import pytest
import torch

from erc.models.dropout import Draw, drawn
from erc.models.heads import EmotionHead, LinearHead


@torch.no_grad()
def test_linear_head_is_one_layer() -> None:
    head, pooled = LinearHead(width=6, emotions=3, dropout=0.2).eval(), torch.randn(4, 6)
    torch.testing.assert_close(head(pooled), pooled @ head.output.weight.t() + head.output.bias)
    assert [name for name, _ in head.named_parameters()] == ["output.weight", "output.bias"]


@pytest.mark.parametrize("rows", [1, 40])
@torch.no_grad()
def test_linear_head_samples_equal_forward_under_the_same_draw(rows: int) -> None:
    head, pooled = LinearHead(width=40, emotions=5, dropout=0.3).eval(), torch.randn(rows, 40)
    with drawn(Draw(seed=3, samples=tuple(range(6)))):
        expected = head(pooled.repeat(6, 1)).view(6, rows, -1)
    torch.testing.assert_close(head.sample(pooled, samples=range(6), seed=3), expected)
    assert (expected.std(dim=0) > 0).all()


@pytest.mark.parametrize("rows", [1, 31, 32, 70])
@pytest.mark.parametrize(("p", "hidden_p"), [(0.1, 0.1), (0.3, 0.0), (0.5, 0.2), (0.0, 0.3)])
@torch.no_grad()
def test_head_samples_equal_forward_under_the_same_draw(rows: int, p: float, hidden_p: float) -> None:
    """The faster computation uses the same masks as `forward` under the same draw."""
    torch.manual_seed(1)
    head = EmotionHead(width=40, hidden=24, emotions=5, dropout=p).eval()
    head.hidden_dropout.p = hidden_p
    pooled = torch.randn(rows, 40)
    with drawn(Draw(seed=3, samples=tuple(range(6)))):
        expected = head(pooled.repeat(6, 1)).view(6, rows, -1)
    torch.testing.assert_close(head.sample(pooled, samples=range(6), seed=3), expected, atol=1e-6, rtol=1e-5)
    assert (expected.std(dim=0) > 0).any()


@torch.no_grad()
def test_head_samples_in_bf16_are_close_to_fp32() -> None:
    torch.manual_seed(1)
    head, pooled = EmotionHead(width=40, hidden=24, emotions=5, dropout=0.1).eval(), torch.randn(50, 40)
    full = head.sample(pooled, samples=range(6), seed=3)
    reduced = head.bfloat16().sample(pooled.bfloat16(), samples=range(6), seed=3).float()
    assert 0.0 < (reduced - full).abs().max() < 0.02
