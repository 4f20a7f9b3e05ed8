"""How a speaker's memory and bio are added to a turn's context vector.

Shapes: U turns (or S * U for S drawn networks), P width of the context, G width of the memory, R bios,
K width of a bio.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Final, Self

import torch
from torch import Tensor, nn

from erc.models.emonet.settings import BioKind, JoinKind
from erc.models.turn_batch import TurnBatch


class MemoryJoin(nn.Module, ABC):
    """Joins the memory's state with the context vector: context (U, P), memory (U, G) -> (U, P)."""

    @classmethod
    @abstractmethod
    def build(cls, *, width: int, memory: int, zero_start: bool) -> Self:
        """Build the join for context width P and memory width G.

        With `zero_start`, the memory contributes exactly nothing before training.

        Raises:
            ValueError: If this join cannot have these widths or this start.
        """

    @abstractmethod
    def forward(self, context: Tensor, memory: Tensor) -> Tensor:
        """Context (U, P), memory (U, G) -> (U, P)."""


class ProjectedSum(MemoryJoin):
    """`sum`: context + W memory, without a bias, so that a memory of zeros never contributes anything."""

    def __init__(self, *, width: int, memory: int, zero_start: bool = True) -> None:
        super().__init__()
        self.projection = nn.Linear(memory, width, bias=False)
        if zero_start:
            nn.init.zeros_(self.projection.weight)

    @classmethod
    def build(cls, *, width: int, memory: int, zero_start: bool) -> Self:
        """See `MemoryJoin.build`."""
        return cls(width=width, memory=memory, zero_start=zero_start)

    def forward(self, context: Tensor, memory: Tensor) -> Tensor:
        """Context (U, P), memory (U, G) -> (U, P)."""
        return context + self.projection(memory)


class ConcatJoin(MemoryJoin):
    """`concat`: a linear layer over context and projected memory.

    With `zero_start`, the untrained layer returns the context.
    """

    def __init__(self, *, width: int, memory: int, zero_start: bool = True) -> None:
        super().__init__()
        self.projection = nn.Linear(memory, width, bias=False)
        self.both = nn.Linear(2 * width, width)
        _pass_through(self.both)
        if not zero_start:
            nn.init.xavier_uniform_(self.both.weight[:, width:])

    @classmethod
    def build(cls, *, width: int, memory: int, zero_start: bool) -> Self:
        """See `MemoryJoin.build`."""
        return cls(width=width, memory=memory, zero_start=zero_start)

    def forward(self, context: Tensor, memory: Tensor) -> Tensor:
        """Context (U, P), memory (U, G) -> (U, P)."""
        return self.both(torch.cat([context, self.projection(memory)], dim=-1))


class DirectSum(MemoryJoin):
    """`direct_sum`: context + memory, with no weights, as published for CoMPM (2022)."""

    @classmethod
    def build(cls, *, width: int, memory: int, zero_start: bool) -> Self:
        """See `MemoryJoin.build`."""
        if width != memory:
            raise ValueError(
                f"join 'direct_sum' needs a memory as wide as the context: they are {memory} and {width} wide"
            )
        if zero_start:
            raise ValueError(
                "join 'direct_sum' has no weights that could start at zero: set zero_start to false"
            )
        return cls()

    def forward(self, context: Tensor, memory: Tensor) -> Tensor:
        """Context (U, P), memory (U, P) -> (U, P)."""
        return context + memory


JOINS: Final[dict[str, type[MemoryJoin]]] = {
    "sum": ProjectedSum,
    "concat": ConcatJoin,
    "direct_sum": DirectSum,
}
"""The class of each join."""


def build_join(kind: JoinKind, *, width: int, memory: int, zero_start: bool = True) -> MemoryJoin:
    """Build a join of context width P and memory width G.

    Raises:
        ValueError: If the kind is unknown, or does not allow these widths or this start.
    """
    if kind not in JOINS:
        raise ValueError(f"join '{kind}' is unknown: use {', '.join(JOINS)}")
    return JOINS[kind].build(width=width, memory=memory, zero_start=zero_start)


class BioJoin(nn.Module):
    """Adds speaker bios to the context vector, as the encoder variant of BiosERC (2024).

    `linear` reads the speaker's own bio through a linear layer over context and bio. `attention` lets the
    turn attend to the speaker's bio and to those of the others heard so far. Both start at zero. A missing
    bio contributes nothing. Without the speaker's own bio, `linear` adds nothing, even if others have one.
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
        """Context (S * U, P) and the batch's bios (U, R, K) -> (S * U, P)."""
        if batch.bios is None or batch.bio_mask is None:
            return context
        copies = context.shape[0] // len(batch)
        bios, mask = self.projection(batch.bios).repeat(copies, 1, 1), batch.bio_mask.repeat(copies, 1)
        if self.attention is None:
            present, known = mask[:, 0], bios[:, 0]
        else:
            present, hidden = mask.any(dim=1), ~mask
            # A row without any bio attends to its first place, because softmax over nothing is NaN. Its
            # result is discarded below.
            hidden[:, 0] &= present
            known, _ = self.attention(
                context.unsqueeze(1), bios, bios, key_padding_mask=hidden, need_weights=False
            )
            known = known.squeeze(1)
        added = self.both(torch.cat([context, known], dim=-1))
        return context + added * present.unsqueeze(1)


def _pass_through(layer: nn.Linear) -> None:
    """Make a layer over (context, other) return the context."""
    width = layer.out_features
    with torch.no_grad():
        layer.weight.zero_()
        layer.weight[:, :width].copy_(torch.eye(width))
        layer.bias.zero_()
