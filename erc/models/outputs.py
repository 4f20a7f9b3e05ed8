"""Outputs of a conversation model, and its state between the turns of a live conversation."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True, slots=True)
class EmoNetOutput:
    """Logits (U, C) of U turns, and the joined vectors (U, P) that the head read."""

    logits: Tensor
    embedding: Tensor


@dataclass(frozen=True, slots=True)
class LiveState:
    """The state after `turns` turns of a conversation, from which the next turn is labelled.

    Its size depends on the model's windows (in mode `hierarchical`, on the number of speakers), not on the
    length of the conversation. A state is immutable: `append` returns a new one, so an earlier state can be
    used again.
    """

    turns: int
    tensors: Mapping[str, Tensor]

    @property
    def nbytes(self) -> int:
        """Size of the tensors in bytes."""
        return sum(value.nbytes for value in self.tensors.values())

    def to_tensors(self) -> dict[str, Tensor]:
        """A flat mapping that safetensors can store."""
        return {
            "turns": torch.tensor(self.turns),
            **{name: value.contiguous() for name, value in self.tensors.items()},
        }

    @classmethod
    def from_tensors(cls, tensors: Mapping[str, Tensor]) -> LiveState:
        """Read what `to_tensors` gave."""
        return cls(
            turns=int(tensors["turns"]),
            tensors={name: value for name, value in tensors.items() if name != "turns"},
        )
