"""The learnt part of attention to earlier turns: gates and biases of one layer.

Shapes: N chunks, Q tokens of a chunk, K tokens of its keys, I and J turns of a chunk's queries and keys, H
heads.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from erc.models.context.chunks import Lags

NEVER = -1e9
"""Logit of a key that may not be seen. Finite, so that a padded query gives unused numbers instead of NaN."""


class CrossTurn(nn.Module):
    """A gate for each head, and a bias for each head, distance in turns, and same or other speaker.

    With `initial=None` the gate is tanh(g) and g starts at 0: exactly closed. Otherwise it is sigmoid(g) and
    g starts at `initial`; -3 is nearly closed.
    """

    def __init__(self, *, heads: int, window: int, initial: float | None) -> None:
        super().__init__()
        self.bounded = initial is not None
        self.gate = nn.Parameter(torch.full((heads,), 0.0 if initial is None else initial))
        self.bias = nn.Parameter(torch.zeros(2 * window, heads))

    def gates(self) -> Tensor:
        """The gate of each head, (H, 1, 1)."""
        return (torch.sigmoid(self.gate) if self.bounded else torch.tanh(self.gate))[:, None, None]

    def biases(self, lags: Lags, dtype: torch.dtype) -> Tensor:
        """Offsets of the attention logits, (N, H, Q, K); `NEVER` for keys that may not be seen."""
        table = torch.cat([self.bias, self.bias.new_full((1, self.bias.shape[1]), NEVER)]).to(dtype)
        turns = F.embedding(lags.pair, table).transpose(2, 3).flatten(2)  # (N, I, H * J)
        rows = (lags.query.to(dtype) @ turns).view(len(lags.pair), -1, lags.pair.shape[2])  # (N, Q * H, J)
        spread = rows @ lags.key.to(dtype)
        return spread.view(len(spread), lags.query.shape[1], -1, spread.shape[-1]).transpose(1, 2)
