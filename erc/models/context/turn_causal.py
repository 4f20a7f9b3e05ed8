"""`turn_causal`: one pass over the conversation, in which tokens also attend to the tokens of the W turns before theirs.

Positions restart at each turn, and what looks back is gated and begins closed, so the model starts as the
utterance model and opens from there. All turns are predicted at once; a live conversation keeps keys and
values of the last W turns.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import torch
from torch import Tensor, nn

from erc.models.context.base import ContextEncoder, copies_of, maybe_drawn
from erc.models.context.layers import AnyEncoder, heads_of
from erc.models.context.packed import (
    CrossTurn,
    PackedState,
    Packing,
    Row,
    pool_packed,
    run_packed,
    start_packed,
)
from erc.models.dropout import Draw
from erc.models.encoder.pooling import Pooling
from erc.models.turn_batch import TurnBatch


class TurnCausalContext(ContextEncoder):
    """Attention over the own turn and, through a gate, over the `turn_window` turns before it.

    `gate` is the initial bias of the sigmoid gates (-3 is nearly closed); None closes them exactly. A
    `turn_window` of 0 sees no past.
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

    def begin(self, batch: TurnBatch, *, split: int) -> PackedState:
        state = self._start(batch, before=None)
        return run_packed(self.encoder, self.cross, state, last=split)[0] if split else state

    def complete(self, begun: PackedState, *, split: int, copies: int) -> Tensor:
        state, _ = run_packed(self.encoder, self.cross, begun.repeat(copies), first=split)
        return pool_packed(self.encoder, state, self.pooling)

    def append(
        self, turn: TurnBatch, tensors: Mapping[str, Tensor], *, split: int = 0, draw: Draw | None = None
    ) -> tuple[Tensor, dict[str, Tensor]]:
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
        """Keys and values of the last W turns, this one included, and whose turn each token belongs to."""
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
    """The row of the kept tokens; no query is compared with their positions, which are therefore not kept."""
    turn = tensors["turn"]
    return Row(
        turn=turn,
        position=torch.zeros_like(turn),
        speaker=tensors["speaker"],
        conversation=torch.zeros_like(turn),
    )
