"""Context mode `hierarchical`: utterance vectors, then a GRU over all turns and one over each speaker's.

The encoder is skipped if a batch brings the vectors of its turns. The output of the GRUs passes a projection
that starts at zero, so the untrained model equals the utterance model. A live conversation keeps the last
states of the GRUs.

Shapes: B conversations, L turns of the longest, U turns of them all, P width of a turn's vector, G width of a
GRU, S drawn networks.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Self

import torch
from torch import Tensor, nn

from erc.models.context.base import ContextEncoder, copies_of, maybe_drawn
from erc.models.context.encoder_rows import Rows, begin_rows, complete_rows
from erc.models.context.layers import AnyEncoder
from erc.models.dropout import Draw, SeededDropout
from erc.models.emonet.settings import EmoNetSettings
from erc.models.encoder.pooling import Pooling
from erc.models.turn_batch import TurnBatch

_SITE = 20_000
_PADDING = 4  # groups may be padded to this many times their rows before they are split by size


class HierarchicalContext(ContextEncoder):
    """A turn's vector plus the projected states of a GRU over the conversation and a GRU over its speaker."""

    in_passes = True

    def __init__(
        self, *, encoder: AnyEncoder, pooling: Pooling = "mean_cls", width: int = 256, dropout: float = 0.1
    ) -> None:
        super().__init__(encoder=encoder, pooling=pooling)
        self.norm = nn.LayerNorm(self.width)
        self.input_dropout = SeededDropout(dropout, site=_SITE)
        self.turns = nn.GRU(self.width, width, batch_first=True)
        self.speakers = nn.GRU(self.width, width, batch_first=True)
        self.state_dropout = SeededDropout(dropout, site=_SITE + 1)
        self.output = nn.Linear(2 * width, self.width)
        nn.init.zeros_(self.output.weight)
        nn.init.zeros_(self.output.bias)

    @classmethod
    def from_settings(cls, settings: EmoNetSettings, *, encoder: AnyEncoder) -> Self:
        """See `ContextEncoder.from_settings`."""
        return cls(
            encoder=encoder,
            pooling=settings.pooling,
            width=settings.context_width,
            dropout=settings.dropout,
        )

    def turn_vectors(self, input_ids: Tensor, mask: Tensor) -> Tensor:
        """Vectors (U, P) of turns (U, T) under a mask (U, T), each encoded alone; a batch may bring them."""
        return complete_rows(
            self.encoder,
            begin_rows(self.encoder, input_ids=input_ids, mask=mask, split=0),
            pooling=self.pooling,
            split=0,
            copies=1,
        )

    def begin(self, batch: TurnBatch, *, split: int) -> tuple[list[Rows], TurnBatch]:
        """Run the layers below `split` over each turn, unless the batch brings the turns' vectors."""
        if batch.vectors is not None:
            return [], batch
        return begin_rows(
            self.encoder, input_ids=batch.input_ids, mask=batch.attention_mask, split=split
        ), batch

    def complete(self, begun: tuple[list[Rows], TurnBatch], *, split: int, copies: int) -> Tensor:
        """Vectors (copies * U, P) of the turns in their context."""
        rows, batch = begun
        vectors = self._vectors(rows, batch, split, copies)
        inputs = self.input_dropout(self.norm(vectors)).view(copies, len(batch), -1)
        over_turns = _run_groups(self.turns, inputs, batch.conversation)
        people = batch.conversation * (int(batch.local_speaker.max()) + 1) + batch.local_speaker
        over_speakers = _run_groups(self.speakers, inputs, people)
        return self._joined(vectors, over_turns, over_speakers)

    def append(
        self, turn: TurnBatch, tensors: Mapping[str, Tensor], *, split: int = 0, draw: Draw | None = None
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Encode one more turn; the state is the last GRU state of the conversation and of each speaker."""
        rows, _ = self.begin(turn, split=split)
        copies, speaker = copies_of(draw), int(turn.local_speaker[0])
        with maybe_drawn(draw):
            vectors = self._vectors(rows, turn, split, copies)
            inputs = self.input_dropout(self.norm(vectors)).unsqueeze(1)
            nothing = vectors.new_zeros(1, copies, self.turns.hidden_size)
            known = tensors.get("speaker_states", nothing[:0])  # (speakers so far, S, G)
            if speaker >= len(known):
                known = torch.cat([known, nothing.expand(speaker + 1 - len(known), -1, -1)])
            over_turns, turns = self.turns(inputs, tensors.get("turn_state", nothing))
            over_speakers, own = self.speakers(inputs, known[speaker : speaker + 1].contiguous())
            joined = self._joined(vectors, over_turns, over_speakers)
        return joined, {"turn_state": turns, "speaker_states": known.index_copy(0, turn.local_speaker, own)}

    def _vectors(self, rows: Sequence[Rows], batch: TurnBatch, split: int, copies: int) -> Tensor:
        """Vectors (S * U, P) of the turns without context."""
        if batch.vectors is not None:
            return batch.vectors.repeat(copies, 1)
        return complete_rows(self.encoder, rows, pooling=self.pooling, split=split, copies=copies)

    def _joined(self, vectors: Tensor, over_turns: Tensor, over_speakers: Tensor) -> Tensor:
        states = torch.cat([over_turns, over_speakers], dim=-1).view(vectors.shape[0], -1)
        return vectors + self.output(self.state_dropout(states))


def _run_groups(gru: nn.GRU, inputs: Tensor, group: Tensor) -> Tensor:
    """Run `gru` over the rows of each group in order: inputs (S, U, P), group (U,) -> (S, U, G).

    Groups are padded to the largest. If one is much larger than the others, as in a chat of many people, they
    are run in several parts of similar sizes, each padded to less than twice its rows.
    """
    rows = inputs.shape[1]
    numbers, row_of = torch.unique(group, return_inverse=True)
    counts = torch.bincount(row_of, minlength=len(numbers))
    if len(numbers) * int(counts.max()) <= _PADDING * rows:
        return _run_padded(gru, inputs, row_of)
    scale = counts.log2().floor().long()[row_of]  # (U,)
    parts = [(scale == one).nonzero().squeeze(1) for one in torch.unique(scale)]
    states = [
        _run_padded(gru, inputs[:, part], torch.unique(row_of[part], return_inverse=True)[1])
        for part in parts
    ]
    return torch.cat(states, dim=1)[:, torch.cat(parts).argsort()]


def _run_padded(gru: nn.GRU, inputs: Tensor, row_of: Tensor) -> Tensor:
    """`_run_groups` for groups `row_of` (U,) numbered from 0, all padded to the largest."""
    copies, rows, _ = inputs.shape
    order = torch.argsort(row_of, stable=True)
    counts = torch.bincount(row_of)
    firsts = counts.cumsum(0) - counts
    place = torch.empty_like(row_of)
    place[order] = torch.arange(rows, device=row_of.device) - firsts.repeat_interleave(counts)
    padded = inputs.new_zeros(copies, len(counts), int(counts.max()), inputs.shape[-1])
    padded[:, row_of, place] = inputs
    states, _ = gru(padded.flatten(0, 1))
    return states.view(copies, len(counts), -1, gru.hidden_size)[:, row_of, place]
