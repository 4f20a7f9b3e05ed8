"""The speaker-behaviour module: a GRU over what a speaker said before, across conversations (EmoNet 2024; CoMPM 2022 within one).

Shapes: U turns, N past turns of the speaker, E width of an observation, M distinct past turns or texts, D
hidden width, G width of the GRU, S drawn networks.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

import torch
from torch import Tensor, nn

from erc.models.context.layers import AnyEncoder
from erc.models.context.packed import PackedState, pool_packed, run_packed, start_packed
from erc.models.dropout import SeededDropout
from erc.models.turn_batch import TurnBatch

_SITE = 30_000
_OWN_ENCODER_SITE = 40_000
_ROWS_AT_ONCE = 1024


class GruStack(nn.Module):
    """GRU layers with seeded dropout before each: sequences (R, N, E) under a mask of leading real steps -> last states (R, G).

    Every step of a sequence is dropped alike (a drawn network is one network at all steps). An empty sequence
    gives zeros.
    """

    def __init__(
        self, *, inputs: int, width: int, layers: int, input_dropout: float, dropout: float, site: int
    ) -> None:
        super().__init__()
        self.dropouts = nn.ModuleList(
            SeededDropout(dropout if i else input_dropout, site=site + i) for i in range(layers)
        )
        self.layers = nn.ModuleList(
            nn.GRU(width if i else inputs, width, batch_first=True) for i in range(layers)
        )

    def forward(self, steps: Tensor, mask: Tensor) -> Tensor:
        """steps (R, N, E), mask (R, N) bool -> (R, G)."""
        rows, count, _ = steps.shape
        for dropout, layer in zip(self.dropouts, self.layers, strict=True):
            steps, _ = layer(dropout(steps.flatten(0, 1)).view(rows, count, -1))
        lengths = mask.sum(1)
        last = steps[torch.arange(rows, device=steps.device), (lengths - 1).clamp(min=0)]
        return last * (lengths > 0).unsqueeze(1)


class BehaviourMemory(nn.Module, ABC):
    """What is made of a speaker's past: one state (G,) a turn, zeros for a speaker without any.

    In two halves like a context encoder: `begin` computes what Monte-Carlo samples share.
    """

    width: int

    def forward(self, batch: TurnBatch) -> Tensor:
        """States (U, G)."""
        return self.complete(self.begin(batch, split=0), split=0, copies=1)

    @abstractmethod
    def begin(self, batch: TurnBatch, *, split: int) -> Any:
        """What lies below the sampled layers; its result is for `complete` alone."""

    @abstractmethod
    def complete(self, begun: Any, *, split: int, copies: int) -> Tensor:
        """States for `copies` networks, sample-major: (copies * U, G)."""


class SharedMemory(BehaviourMemory):
    """Reads the stored observations: the shared classifier's embedding and its probabilities (`memory_encoder: shared`)."""

    def __init__(
        self, *, observation_width: int, width: int = 256, layers: int = 1, dropout: float = 0.1
    ) -> None:
        super().__init__()
        self.width = width
        self.observation_width = observation_width
        self.norm = nn.LayerNorm(observation_width)
        self.gru = GruStack(
            inputs=observation_width,
            width=width,
            layers=layers,
            input_dropout=dropout,
            dropout=dropout,
            site=_SITE,
        )

    def begin(self, batch: TurnBatch, *, split: int) -> TurnBatch:
        return batch

    def complete(self, begun: TurnBatch, *, split: int, copies: int) -> Tensor:
        if begun.observations is None:
            return self.norm.weight.new_zeros(copies * len(begun), self.width)
        return _last_states(self.gru, self.norm(begun.observations).unsqueeze(0), begun, copies)


class OwnMemory(BehaviourMemory):
    """Trains a second encoder over the past texts: each one's CLS vector, then the GRU (`memory_encoder: own`, as published).

    Two layers and dropout 0.3 are CoMPM's. A text that several turns remember is encoded once.
    """

    def __init__(self, *, encoder: AnyEncoder, layers: int = 2, dropout: float = 0.3) -> None:
        super().__init__()
        self.encoder = encoder
        self.width = encoder.hidden_size
        for module in encoder.modules():
            if isinstance(module, SeededDropout):  # its masks are not those of the first encoder
                module.site += _OWN_ENCODER_SITE
        self.gru = GruStack(
            inputs=self.width, width=self.width, layers=layers, input_dropout=0.0, dropout=dropout, site=_SITE
        )

    def begin(self, batch: TurnBatch, *, split: int) -> tuple[PackedState | None, TurnBatch]:
        if batch.memory_ids is None or batch.memory_mask is None:
            return None, batch
        state = start_packed(self.encoder, input_ids=batch.memory_ids, attention_mask=batch.memory_mask)
        return run_packed(self.encoder, None, state, last=split)[0] if split else state, batch

    def complete(self, begun: tuple[PackedState | None, TurnBatch], *, split: int, copies: int) -> Tensor:
        state, batch = begun
        if state is None:
            return next(self.gru.parameters()).new_zeros(copies * len(batch), self.width)
        state, _ = run_packed(self.encoder, None, state.repeat(copies), first=split)
        vectors = pool_packed(self.encoder, state, "cls").view(copies, -1, self.width)
        return _last_states(self.gru, vectors, batch, copies)


def _last_states(gru: GruStack, known: Tensor, batch: TurnBatch, copies: int) -> Tensor:
    """The GRU's states (S * U, G) after each turn's past, whose steps are rows of `known` (S or 1, M, E).

    A step is as wide as an embedding and stands in up to N pasts: they are laid out for some turns at a time,
    unless gradients keep them anyway.
    """
    assert batch.history_index is not None
    assert batch.history_mask is not None
    at_once = len(batch) if torch.is_grad_enabled() else max(1, _ROWS_AT_ONCE // copies)
    states = []
    for index, mask in zip(
        batch.history_index.split(at_once), batch.history_mask.split(at_once), strict=True
    ):
        steps = known[:, index].expand(copies, -1, -1, -1).flatten(0, 1)  # (S * U', N, E)
        states.append(gru(steps, mask.repeat(copies, 1)).view(copies, len(index), -1))
    return torch.cat(states, dim=1).flatten(0, 1)
