"""From a turn's vector to logits over emotions, with dropout for Monte-Carlo samples.

Shapes: B turns, P width of a turn's vector, H hidden width, C emotions, S samples, K units that a drawn
network drops.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from erc.models.dropout import Draw, SeededDropout, drawn, require_dropout

HeadKind = Literal["mlp", "linear"]
_HEAD_SITE = (
    10_000  # far above the encoder's sites, so that a deeper encoder does not change the head's masks
)
_FEW_ROWS = 32


class EmotionHead(nn.Module):
    """Dropout, Linear, GELU, dropout, Linear."""

    def __init__(
        self, *, width: int, hidden: int, emotions: int, dropout: float, site: int = _HEAD_SITE
    ) -> None:
        super().__init__()
        self.input_dropout = SeededDropout(dropout, site=site)
        self.dense = nn.Linear(width, hidden)
        self.hidden_dropout = SeededDropout(dropout, site=site + 1)
        self.output = nn.Linear(hidden, emotions)

    def forward(self, pooled: Tensor) -> Tensor:
        """Pooled (B, P) -> logits (B, C)."""
        return self.output(self.hidden_dropout(F.gelu(self.dense(self.input_dropout(pooled)))))

    @torch.no_grad()
    def sample(self, pooled: Tensor, *, samples: Sequence[int], seed: int) -> Tensor:
        """Logits (S, B, C) of drawn networks over pooled (B, P): those of `forward` under the same draw.

        The sum over the inputs that a network keeps is the sum over all inputs minus that over the few it
        drops. The sum over all is computed once for all networks. For few rows, or a rate above a third, the
        plain computation is faster.
        """
        count = len(samples)
        draw = Draw(seed=seed, samples=tuple(samples))
        with drawn(draw):
            if len(pooled) < _FEW_ROWS or not 0.0 < self.input_dropout.p < 1 / 3:
                return self(pooled.repeat(count, 1)).view(count, len(pooled), -1)
            index, real = draw.dropped(
                site=self.input_dropout.site, features=pooled.shape[1], p=self.input_dropout.p
            )
            index, scale = index.to(pooled.device), 1.0 / (1.0 - self.input_dropout.p)
            weights = self.dense.weight.t()[index] * (real.to(pooled) * scale).unsqueeze(2)  # (S, K, H)
            everything = F.linear(pooled, self.dense.weight * scale, self.dense.bias).expand(count, -1, -1)
            kept = torch.baddbmm(everything, pooled.t()[index].transpose(1, 2), weights, alpha=-1.0)
            # The masks of the second dropout are applied to the output weights, which are fewer than the
            # hidden values.
            output = self.hidden_dropout(self.output.weight.repeat(count, 1)).view(count, -1, kept.shape[2])
            return torch.baddbmm(self.output.bias, F.gelu(kept), output.transpose(1, 2))


class LinearHead(nn.Module):
    """Dropout and one Linear; without dropout, the head published for CoMPM."""

    def __init__(self, *, width: int, emotions: int, dropout: float, site: int = _HEAD_SITE) -> None:
        super().__init__()
        self.input_dropout = SeededDropout(dropout, site=site)
        self.output = nn.Linear(width, emotions)

    def forward(self, pooled: Tensor) -> Tensor:
        """Pooled (B, P) -> logits (B, C)."""
        return self.output(self.input_dropout(pooled))

    @torch.no_grad()
    def sample(self, pooled: Tensor, *, samples: Sequence[int], seed: int) -> Tensor:
        """Logits (S, B, C) of drawn networks over pooled (B, P): those of `forward` under the same draw."""
        with drawn(Draw(seed=seed, samples=tuple(samples))):
            return self(pooled.repeat(len(samples), 1)).view(len(samples), len(pooled), -1)


def sample_head(
    head: EmotionHead | LinearHead, pooled: Tensor, *, n_samples: int, seed: int, max_batch_size: int
) -> Tensor:
    """Logits (S, B, C) of samples 0 to S - 1 of a head over pooled (B, P).

    At most `max_batch_size` rows times samples are computed at once.

    Raises:
        NoDropoutError: If the head has no dropout.
    """
    require_dropout(head, name="this head")
    parts = []
    for rows in pooled.split(max(1, max_batch_size)):
        at_once = max(1, max_batch_size // max(1, len(rows)))
        numbers = range(n_samples)
        parts.append(
            torch.cat(
                [
                    head.sample(rows, samples=numbers[start : start + at_once], seed=seed)
                    for start in range(0, n_samples, at_once)
                ]
            )
        )
    return torch.cat(parts, dim=1)
