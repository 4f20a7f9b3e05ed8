"""Pooling: from the hidden states of a text to one vector."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

Pooling = Literal["mean", "cls", "mean_cls"]


def masked_mean(hidden: Tensor, attention_mask: Tensor) -> Tensor:
    """Mean over real tokens: hidden (B, T, D), attention_mask (B, T) -> (B, D); an empty row gives zeros."""
    weights = attention_mask.unsqueeze(-1).to(hidden.dtype)
    return (hidden * weights).sum(dim=1) / weights.sum(dim=1).clamp(min=1.0)


def pool(hidden: Tensor, attention_mask: Tensor, pooling: Pooling) -> Tensor:
    """Pool (B, T, D) to (B, D), or to (B, 2 D) for `mean_cls`: masked mean and first token's state."""
    if pooling == "mean":
        return masked_mean(hidden, attention_mask)
    if pooling == "cls":
        return hidden[:, 0]
    return torch.cat([masked_mean(hidden, attention_mask), hidden[:, 0]], dim=-1)


def pooled_width(hidden_size: int, pooling: Pooling) -> int:
    """Width of the vectors that `pool` returns."""
    return 2 * hidden_size if pooling == "mean_cls" else hidden_size
