"""The speaker memory: a GRU over a speaker's past turns.

EmoNet (2024) reads those of all conversations, CoMPM (2022) those of the same one.

Shapes: U turns, N past turns of the speaker, E width of an observation (embedding and probabilities), M
distinct past turns or texts, D hidden width, G width of the GRU, S drawn networks.
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

PROBABILITY_FLOOR = 1e-4
"""Probabilities are clamped to at least this and at most 1 minus this before log-odds are computed."""


class GruStack(nn.Module):
    """GRU layers with seeded dropout before each; the result is the last state of each sequence.

    All steps of a sequence have the same dropout mask, because a drawn network is one network at all steps.
    An empty sequence gives zeros.
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
        """Steps (R, N, E) under a mask (R, N) bool of leading real steps -> last states (R, G)."""
        rows, count, _ = steps.shape
        for dropout, layer in zip(self.dropouts, self.layers, strict=True):
            steps, _ = layer(dropout(steps.flatten(0, 1)).view(rows, count, -1))
        lengths = mask.sum(1)
        last = steps[torch.arange(rows, device=steps.device), (lengths - 1).clamp(min=0)]
        return last * (lengths > 0).unsqueeze(1)


class BehaviourMemory(nn.Module, ABC):
    """Encodes a speaker's past as one state (G,) a turn; zeros without a past.

    A pass has two halves, as for a context encoder: `begin` computes what Monte-Carlo samples share.
    """

    width: int
    """G."""

    def forward(self, batch: TurnBatch) -> Tensor:
        """States (U, G)."""
        return self.complete(self.begin(batch, split=0), split=0, copies=1)

    @abstractmethod
    def begin(self, batch: TurnBatch, *, split: int) -> Any:
        """Run the layers below `split`; only `complete` reads the result."""

    @abstractmethod
    def complete(self, begun: Any, *, split: int, copies: int) -> Tensor:
        """Run the rest for `copies` networks, sample-major: (copies * U, G)."""


class SharedMemory(BehaviourMemory):
    """A GRU over stored observations of the shared classifier (`memory_encoder: shared`).

    An observation is an embedding and the probabilities of the classifier's labels. They are normalised
    separately, because the embedding is much wider: under one LayerNorm the probabilities keep less than one
    percent of the variance. The embedding is projected to `projection` values. The probabilities become
    log-odds, clamped to those of `PROBABILITY_FLOOR` and 1 - `PROBABILITY_FLOOR`.
    """

    def __init__(
        self,
        *,
        embedding_width: int,
        labels: int,
        projection: int = 32,
        width: int = 256,
        layers: int = 1,
        dropout: float = 0.1,
    ) -> None:
        super().__init__()
        self.width = width
        self.embedding_width = embedding_width
        self.labels = labels
        self.embedding_norm = nn.LayerNorm(embedding_width)
        self.projection = nn.Linear(embedding_width, projection)
        self.label_norm = nn.LayerNorm(labels)
        self.gru = GruStack(
            inputs=projection + labels,
            width=width,
            layers=layers,
            input_dropout=dropout,
            dropout=dropout,
            site=_SITE,
        )

    def begin(self, batch: TurnBatch, *, split: int) -> TurnBatch:
        """The batch: there is no encoder to run."""
        return batch

    def complete(self, begun: TurnBatch, *, split: int, copies: int) -> Tensor:
        """States (copies * U, G)."""
        if begun.observations is None:
            return self.projection.weight.new_zeros(copies * len(begun), self.width)
        return _last_states(self.gru, self.steps(begun.observations).unsqueeze(0), begun, copies)

    def steps(self, observations: Tensor) -> Tensor:
        """The GRU's input of each observation: (M, E) -> (M, projection + labels)."""
        embedding, probabilities = observations.split([self.embedding_width, self.labels], dim=-1)
        # In float32: bfloat16 rounds a probability near 1 to 1, whose log-odds are infinite.
        log_odds = probabilities.float().clamp(PROBABILITY_FLOOR, 1.0 - PROBABILITY_FLOOR).logit()
        weights = self.projection.weight
        projected = self.projection(self.embedding_norm(embedding.to(weights.dtype)))
        return torch.cat([projected, self.label_norm(log_odds.to(weights.dtype))], dim=-1)


class OwnMemory(BehaviourMemory):
    """A second encoder over the past texts, then a GRU over their CLS vectors (`memory_encoder: own`).

    Published so for CoMPM (2022), with two layers and dropout 0.3, and for EmoNet (2024). A text that several
    turns remember is encoded once.
    """

    def __init__(self, *, encoder: AnyEncoder, layers: int = 2, dropout: float = 0.3) -> None:
        super().__init__()
        self.encoder = encoder
        self.width = encoder.hidden_size
        for module in encoder.modules():
            if isinstance(module, SeededDropout):  # its masks must differ from those of the first encoder
                module.site += _OWN_ENCODER_SITE
        self.gru = GruStack(
            inputs=self.width, width=self.width, layers=layers, input_dropout=0.0, dropout=dropout, site=_SITE
        )

    def begin(self, batch: TurnBatch, *, split: int) -> tuple[PackedState | None, TurnBatch]:
        """Run the layers below `split` over the distinct past texts."""
        if batch.memory_ids is None or batch.memory_mask is None:
            return None, batch
        state = start_packed(self.encoder, input_ids=batch.memory_ids, attention_mask=batch.memory_mask)
        return run_packed(self.encoder, None, state, last=split)[0] if split else state, batch

    def complete(self, begun: tuple[PackedState | None, TurnBatch], *, split: int, copies: int) -> Tensor:
        """States (copies * U, G)."""
        state, batch = begun
        if state is None:
            return next(self.gru.parameters()).new_zeros(copies * len(batch), self.width)
        state, _ = run_packed(self.encoder, None, state.repeat(copies), first=split)
        vectors = pool_packed(self.encoder, state, "cls").view(copies, -1, self.width)
        return _last_states(self.gru, vectors, batch, copies)


def _last_states(gru: GruStack, known: Tensor, batch: TurnBatch, copies: int) -> Tensor:
    """The GRU's states (S * U, G) after each turn's past, whose steps are rows of `known` (S or 1, M, E).

    A step occurs in up to N pasts. To limit memory, sequences are built for some of the turns at a time.
    Training keeps them all for the gradient.
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
