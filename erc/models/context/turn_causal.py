"""Context mode `turn_causal`: one pass a conversation; tokens also attend to those of the W turns before.

Positions restart at each turn. Attention to earlier turns passes gates that start closed, so the untrained
model equals the utterance model. All turns are encoded at once. A live conversation keeps the keys and values
of the last W turns.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Self

import torch
from torch import Tensor, nn

from erc.models.context.base import ContextEncoder, copies_of, maybe_drawn
from erc.models.context.cross_turn import CrossTurn
from erc.models.context.layers import AnyEncoder, heads_of
from erc.models.context.packed import PackedState, pool_packed, run_packed, start_packed
from erc.models.context.packing import Packing, Row
from erc.models.dropout import Draw
from erc.models.emonet.settings import EmoNetSettings
from erc.models.encoder.pooling import Pooling
from erc.models.turn_batch import TurnBatch


class TurnCausalContext(ContextEncoder):
    """Attention within a turn and, through a gate, over the `turn_window` turns before it.

    `gate` is the initial bias of the sigmoid gates (-3 is nearly closed); None starts them exactly closed.
    With a `turn_window` of 0 no past is read.
    """

    def __init__(
        self,
        *,
        encoder: AnyEncoder,
        pooling: Pooling = "mean_cls",
        turn_window: int = 12,
        gate: float | None = None,
    ) -> None:
        super().__init__(encoder=encoder, pooling=pooling)
        self.turn_window = turn_window
        heads = heads_of(encoder)
        self.cross = (
            nn.ModuleList(CrossTurn(heads=heads, window=turn_window, initial=gate) for _ in encoder.layers)
            if turn_window
            else None
        )

    @classmethod
    def from_settings(cls, settings: EmoNetSettings, *, encoder: AnyEncoder) -> Self:
        """See `ContextEncoder.from_settings`."""
        return cls(
            encoder=encoder,
            pooling=settings.pooling,
            turn_window=settings.turn_window,
            gate=settings.gate_bias,
        )

    def begin(self, batch: TurnBatch, *, split: int) -> PackedState:
        """Run the layers below `split` over all turns, packed into one row."""
        state = self._start(batch, before=None)
        return run_packed(self.encoder, self.cross, state, last=split)[0] if split else state

    def complete(self, begun: PackedState, *, split: int, copies: int) -> Tensor:
        """Vectors (copies * U, P) of the turns."""
        state, _ = run_packed(self.encoder, self.cross, begun.repeat(copies), first=split)
        return pool_packed(self.encoder, state, self.pooling)

    def append(
        self, turn: TurnBatch, tensors: Mapping[str, Tensor], *, split: int = 0, draw: Draw | None = None
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Encode one more turn; the state is each layer's keys and values of the last W turns."""
        layers = len(self.encoder.layers)
        state = self._start(turn, before=_kept_row(tensors) if tensors else None)
        earlier = [(tensors[f"key.{i}"], tensors[f"value.{i}"]) for i in range(layers)] if tensors else None
        kept: list[tuple[Tensor, Tensor]] = []
        if split:
            lower, kept = run_packed(self.encoder, self.cross, replace(state, earlier=earlier), last=split)
            state = lower
        with maybe_drawn(draw):
            upper = replace(
                state.repeat(copies_of(draw)), earlier=None if earlier is None else earlier[split:]
            )
            state, more = run_packed(self.encoder, self.cross, upper, first=split)
        return pool_packed(self.encoder, state, self.pooling), self._kept(turn, tensors, [*kept, *more])

    def _start(self, batch: TurnBatch, *, before: Row | None) -> PackedState:
        row = Packing.of(batch.attention_mask).row(
            turn=batch.turn, speaker=batch.local_speaker, conversation=batch.conversation
        )
        texts = {"input_ids": batch.input_ids, "attention_mask": batch.attention_mask}
        return start_packed(self.encoder, **texts, row=row, before=before, window=self.turn_window)

    def _kept(
        self, turn: TurnBatch, before: Mapping[str, Tensor], fresh: list[tuple[Tensor, Tensor]]
    ) -> dict[str, Tensor]:
        """Keys and values of the last W turns, this one included, with the turn and speaker of each token."""
        if not self.turn_window:
            return {}
        tokens = int(turn.attention_mask.sum())
        new = {"turn": turn.turn.expand(tokens), "speaker": turn.local_speaker.expand(tokens)}
        new |= {
            f"{kind}.{i}": pair[place]
            for i, pair in enumerate(fresh)
            for place, kind in enumerate(("key", "value"))
        }
        if not before:
            return {name: value.clone() for name, value in new.items()}
        recent = (before["turn"] > turn.turn - self.turn_window).nonzero().squeeze(1)

        def joined(name: str, value: Tensor) -> Tensor:
            axis = 0 if value.dim() == 1 else 1
            return torch.cat([before[name].index_select(axis, recent), value], dim=axis)

        return {name: joined(name, value) for name, value in new.items()}


def _kept_row(tensors: Mapping[str, Tensor]) -> Row:
    """The row of the kept tokens. Their positions are not kept, because no query is compared with them."""
    turn = tensors["turn"]
    return Row(
        turn=turn,
        position=torch.zeros_like(turn),
        speaker=tensors["speaker"],
        conversation=torch.zeros_like(turn),
    )
