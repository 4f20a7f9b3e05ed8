"""How what is known of a speaker joins a turn's context vector.

Shapes: U turns (or S * U for S drawn networks), P width of the context, G width of the memory, R bios, K
width of a bio.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

from erc.models.turn_batch import TurnBatch

JoinKind = Literal["sum", "concat"]
BioKind = Literal["linear", "attention"]


class MemoryJoin(nn.Module):
    """Projects the memory's state to the context's width and joins the two: a sum, or a linear layer over both.

    With `zero_start` the memory contributes exactly nothing until it is trained. A memory of zeros
    contributes nothing to a sum ever.
    """

    def __init__(self, *, kind: JoinKind, width: int, memory: int, zero_start: bool = True) -> None:
        super().__init__()
        self.kind: JoinKind = kind
        self.projection = nn.Linear(memory, width, bias=False)
        self.both = nn.Linear(2 * width, width) if kind == "concat" else None
        if self.both is not None:
            _pass_through(self.both)
        if zero_start and self.both is None:
            nn.init.zeros_(self.projection.weight)
        if not zero_start and self.both is not None:
            nn.init.xavier_uniform_(self.both.weight[:, width:])

    def forward(self, context: Tensor, memory: Tensor) -> Tensor:
        """context (U, P), memory (U, G) -> (U, P)."""
        known = self.projection(memory)
        return context + known if self.both is None else self.both(torch.cat([context, known], dim=-1))


class BioJoin(nn.Module):
    """Adds what a speaker's bio says (the encoder variant of BiosERC 2024): its own bio through a linear layer over both, or
    attention of the turn over its own bio and those of the others heard so far. Begins at zero; no bio
    contributes nothing, and where the speaker has none the linear layer adds nothing, whatever is known of
    others.
    """

    def __init__(self, *, kind: BioKind, width: int, bio_width: int, heads: int = 4) -> None:
        super().__init__()
        self.kind: BioKind = kind
        self.projection = nn.Linear(bio_width, width)
        self.attention = (
            nn.MultiheadAttention(width, heads, batch_first=True) if kind == "attention" else None
        )
        self.both = nn.Linear(2 * width, width)
        nn.init.zeros_(self.both.weight)
        nn.init.zeros_(self.both.bias)

    def forward(self, context: Tensor, batch: TurnBatch) -> Tensor:
        """context (S * U, P) and the batch's bios (U, R, K) -> (S * U, P)."""
        if batch.bios is None or batch.bio_mask is None:
            return context
        copies = context.shape[0] // len(batch)
        bios, mask = self.projection(batch.bios).repeat(copies, 1, 1), batch.bio_mask.repeat(copies, 1)
        if self.attention is None:
            present, known = mask[:, 0], bios[:, 0]
        else:
            present, hidden = mask.any(dim=1), ~mask
            hidden[:, 0] &= (
                present  # a row without any bio attends to its first place; its answer is dropped below
            )
            known, _ = self.attention(
                context.unsqueeze(1), bios, bios, key_padding_mask=hidden, need_weights=False
            )
            known = known.squeeze(1)
        added = self.both(torch.cat([context, known], dim=-1))
        return context + added * present.unsqueeze(1)


def _pass_through(layer: nn.Linear) -> None:
    """Makes a layer over (context, other) return the context."""
    width = layer.out_features
    with torch.no_grad():
        layer.weight.zero_()
        layer.weight[:, :width].copy_(torch.eye(width))
        layer.bias.zero_()
