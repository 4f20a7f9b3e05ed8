"""From a turn's vector to logits over emotions, with dropout that Monte-Carlo samples draw.

Shapes: B turns, P width of a turn's vector, H hidden width, C emotions, S samples, K units that a drawn
network leaves out.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from erc.models.dropout import Draw, SeededDropout, drawn

HeadKind = Literal["mlp", "linear"]
_HEAD_SITE = 10_000  # head dropouts are numbered apart, so that a deeper encoder does not change their masks
_FEW_ROWS = 32


class EmotionHead(nn.Module):
    """Dropout, Linear, GELU, dropout, Linear: pooled (B, P) -> logits (B, C)."""

    def __init__(
        self, *, width: int, hidden: int, emotions: int, dropout: float, site: int = _HEAD_SITE
    ) -> None:
        super().__init__()
        self.input_dropout = SeededDropout(dropout, site=site)
        self.dense = nn.Linear(width, hidden)
        self.hidden_dropout = SeededDropout(dropout, site=site + 1)
        self.output = nn.Linear(hidden, emotions)

    def forward(self, pooled: Tensor) -> Tensor:
        return self.output(self.hidden_dropout(F.gelu(self.dense(self.input_dropout(pooled)))))

    @torch.no_grad()
    def sample(self, pooled: Tensor, *, n_samples: int, seed: int) -> Tensor:
        """Logits (S, B, C) of S drawn networks over pooled (B, P): those of `forward` under the same draw.

        A network that leaves out few inputs sums all of them less those few. The sum of all is the same for
        every network, so that only the few are multiplied S times; for a handful of rows, or a dropout of
        more than a third, it would not pay.
        """
        draw = Draw(seed=seed, samples=tuple(range(n_samples)))
        with drawn(draw):
            if len(pooled) < _FEW_ROWS or not 0.0 < self.input_dropout.p < 1 / 3:
                logits = self(pooled.repeat(n_samples, 1))
            else:
                index, real = draw.dropped(
                    site=self.input_dropout.site, features=pooled.shape[1], p=self.input_dropout.p
                )
                index, scale = index.to(pooled.device), 1.0 / (1.0 - self.input_dropout.p)
                weights = self.dense.weight.t()[index] * (real.to(pooled) * scale).unsqueeze(2)  # (S, K, H)
                everything = F.linear(pooled, self.dense.weight * scale, self.dense.bias).expand(
                    n_samples, -1, -1
                )
                kept = torch.baddbmm(everything, pooled.t()[index].transpose(1, 2), weights, alpha=-1.0)
                # The masks of the second dropout go into the weights behind it, which are fewer than what it
                # would mask.
                behind = self.hidden_dropout(self.output.weight.repeat(n_samples, 1)).view(
                    n_samples, -1, kept.shape[2]
                )
                logits = torch.baddbmm(self.output.bias, F.gelu(kept), behind.transpose(1, 2))
        return logits.view(n_samples, len(pooled), -1)


class LinearHead(nn.Module):
    """Dropout and one Linear, as CoMPM classifies: pooled (B, P) -> logits (B, C)."""

    def __init__(self, *, width: int, emotions: int, dropout: float, site: int = _HEAD_SITE) -> None:
        super().__init__()
        self.input_dropout = SeededDropout(dropout, site=site)
        self.output = nn.Linear(width, emotions)

    def forward(self, pooled: Tensor) -> Tensor:
        return self.output(self.input_dropout(pooled))

    @torch.no_grad()
    def sample(self, pooled: Tensor, *, n_samples: int, seed: int) -> Tensor:
        """Logits (S, B, C) of S drawn networks over pooled (B, P): those of `forward` under the same draw."""
        with drawn(Draw(seed=seed, samples=tuple(range(n_samples)))):
            return self(pooled.repeat(n_samples, 1)).view(n_samples, len(pooled), -1)
