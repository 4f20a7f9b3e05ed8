"""Packing turns without padding: all real tokens of a batch in one row.

Shapes: S drawn networks, U turns, T tokens of the longest, X real tokens of all turns, X' tokens of a row of
keys, D hidden width.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True, slots=True)
class Row:
    """The turn, position in the turn, speaker and conversation of each token of a row, all (X',) int64.

    Turns are numbered in order, without a gap within a conversation.
    """

    turn: Tensor
    position: Tensor
    speaker: Tensor
    conversation: Tensor

    def __add__(self, other: Row) -> Row:
        """This row followed by another."""
        names = ("turn", "position", "speaker", "conversation")
        return Row(**{name: torch.cat([getattr(self, name), getattr(other, name)]) for name in names})


@dataclass(frozen=True, slots=True)
class Packing:
    """The packed row of turns (U, T) under `mask` bool.

    `place` (U, T) is the index of each token in the row, X for padding.
    """

    mask: Tensor
    place: Tensor

    @classmethod
    def of(cls, attention_mask: Tensor) -> Packing:
        """The packing of turns under attention_mask (U, T)."""
        mask = attention_mask.bool()
        place = (mask.flatten().cumsum(0) - 1).view_as(mask)
        return cls(mask=mask, place=place.masked_fill(~mask, int(mask.sum())))

    def spread(self, values: Tensor) -> Tensor:
        """Values (U,) of turns -> (X,) of their tokens."""
        return values.unsqueeze(1).expand_as(self.mask)[self.mask]

    def positions(self) -> Tensor:
        """Each packed token's position within its turn, (X,)."""
        return torch.arange(self.mask.shape[1], device=self.mask.device).expand_as(self.mask)[self.mask]

    def row(self, *, turn: Tensor, speaker: Tensor, conversation: Tensor) -> Row:
        """The row of these turns; turn, speaker and conversation are (U,)."""
        return Row(
            turn=self.spread(turn),
            position=self.positions(),
            speaker=self.spread(speaker),
            conversation=self.spread(conversation),
        )

    def pad(self, packed: Tensor) -> Tensor:
        """Packed (S, X, D) -> (S * U, T, D), zeros for padding."""
        filled = torch.cat([packed, packed.new_zeros(packed.shape[0], 1, packed.shape[2])], dim=1)
        return filled.index_select(1, self.place.flatten()).view(-1, self.mask.shape[1], packed.shape[2])
