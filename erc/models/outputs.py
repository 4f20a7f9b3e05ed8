"""What a conversation model gives, and what it keeps between the turns of a live conversation."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True, slots=True)
class EmoNetOutput:
    """One row a turn: logits (U, C) and the joined vector (U, P) that the head read."""

    logits: Tensor
    embedding: Tensor


@dataclass(frozen=True, slots=True)
class LiveState:
    """What is left of a conversation after `turns` turns, enough to answer the next one.

    Its size is bounded by the model's windows (in the hierarchical mode also by how many speakers the
    conversation has), not by the length of the conversation. A state is never changed; `append` gives a new
    one, so an old one can be gone back to.
    """

    turns: int
    tensors: Mapping[str, Tensor]

    @property
    def nbytes(self) -> int:
        """Size of the tensors in bytes."""
        return sum(value.nbytes for value in self.tensors.values())

    def to_tensors(self) -> dict[str, Tensor]:
        """A flat mapping that safetensors can write."""
        return {
            "turns": torch.tensor(self.turns),
            **{name: value.contiguous() for name, value in self.tensors.items()},
        }

    @classmethod
    def from_tensors(cls, tensors: Mapping[str, Tensor]) -> LiveState:
        """Takes up what `to_tensors` gave."""
        return cls(
            turns=int(tensors["turns"]),
            tensors={name: value for name, value in tensors.items() if name != "turns"},
        )
