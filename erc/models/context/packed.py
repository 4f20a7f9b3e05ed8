"""One encoder pass over whole conversations without padding.

Projections and feed-forward layers run over the real tokens of all turns in one row. Attention runs within
turns and, through gates, over earlier turns, chunk by chunk. Without `CrossTurn`, or with its gates closed,
the result for each turn is that of the encoder alone.

Shapes: S drawn networks, U turns, T tokens of the longest, X real tokens of all turns, X' those in the row of
keys, N chunks, Q tokens of a chunk, K tokens of its keys, D hidden width, H heads, F width of a head.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from erc.models.context.chunks import Chunks, cut
from erc.models.context.cross_turn import NEVER, CrossTurn
from erc.models.context.layers import (
    AnyEncoder,
    Projected,
    Rotary,
    embed,
    finish,
    heads_of,
    merge,
    project,
    reach,
)
from erc.models.context.packing import Packing, Row
from erc.models.dropout import active_draw, drawn
from erc.models.encoder.pooling import Pooling, pool

_CHUNKS_AT_ONCE = 16  # bounds the memory that a long conversation needs


@dataclass(frozen=True, slots=True)
class PackedState:
    """Packed turns between two layers.

    Attributes:
        hidden: Hidden states, (S, X, D).
        packing: Where each token is in the row.
        rotary: Rotary positions, for the families that have them.
        chunks: How the row is cut for attention.
        earlier: For a live turn, keys and values (S, X' - X, H, F) of the turns before it, for each layer
            that is still to run.
    """

    hidden: Tensor
    packing: Packing
    rotary: Rotary
    chunks: Chunks
    earlier: Sequence[tuple[Tensor, Tensor]] | None = None

    def repeat(self, times: int) -> PackedState:
        """The same turns for `times` drawn networks, sample-major."""
        return replace(self, hidden=self.hidden.repeat(times, 1, 1))


def start_packed(
    encoder: AnyEncoder,
    *,
    input_ids: Tensor,
    attention_mask: Tensor,
    row: Row | None = None,
    before: Row | None = None,
    window: int = 0,
) -> PackedState:
    """Embed the real tokens of texts (U, T); positions restart in each text.

    Args:
        encoder: The encoder.
        input_ids: Token ids, (U, T).
        attention_mask: 1 for real tokens, (U, T).
        row: Turns, speakers and conversations of the tokens. None if each text is encoded alone.
        before: The row of tokens kept from earlier turns, for a live turn.
        window: Turns that a token may look back.
    """
    packing = Packing.of(attention_mask)
    if row is None:
        texts = torch.arange(len(input_ids), device=input_ids.device)
        row, window = packing.row(turn=texts, speaker=texts, conversation=torch.zeros_like(texts)), 0
    keys = row if before is None else before + row
    chunks = cut(row, keys, first=len(keys.turn) - len(row.turn), window=window)
    hidden, rotary = embed(encoder, input_ids[packing.mask].unsqueeze(0), row.position.unsqueeze(0))
    return PackedState(hidden=hidden, packing=packing, rotary=rotary, chunks=chunks)


def run_packed(
    encoder: AnyEncoder,
    cross: nn.ModuleList | None,
    state: PackedState,
    *,
    first: int = 0,
    last: int | None = None,
) -> tuple[PackedState, list[tuple[Tensor, Tensor]]]:
    """Run layers `first` to `last` - 1; also return each layer's keys and values (S, X, H, F)."""
    draw = active_draw()
    if draw is not None:  # a token's dropout mask depends on its position in its own turn
        with drawn(replace(draw, positions=state.packing.positions().unsqueeze(0))):
            return _run(encoder, cross, state, first, last)
    return _run(encoder, cross, state, first, last)


def _run(
    encoder: AnyEncoder, cross: nn.ModuleList | None, state: PackedState, first: int, last: int | None
) -> tuple[PackedState, list[tuple[Tensor, Tensor]]]:
    hidden, kept = state.hidden, []
    heads = heads_of(encoder)
    for number, layer in list(enumerate(encoder.layers))[first:last]:
        parts = project(layer, hidden, state.rotary, heads=heads)
        kept.append((parts.key, parts.value))
        if state.earlier is not None:
            keys, values = state.earlier[number - first]
            parts = Projected(
                parts.query, torch.cat([keys, parts.key], dim=1), torch.cat([values, parts.value], dim=1)
            )
        looking_back: CrossTurn | None = None if cross is None else cross[number]  # type: ignore[assignment]
        hidden = merge(layer, hidden, attend(parts, state.chunks, looking_back, distance=reach(layer)))
    return replace(state, hidden=hidden), kept


def attend(parts: Projected, chunks: Chunks, cross: CrossTurn | None, *, distance: int | None) -> Tensor:
    """Attention within each turn plus gated attention to earlier turns.

    Query (S, X, H, F), key and value (S, X', H, F) -> (S, X, D). Within a turn a token sees `distance` tokens
    to either side, None for all.
    """
    # Training keeps all attention weights for the gradient, so smaller parts would save nothing.
    size = len(chunks.query) if torch.is_grad_enabled() else _CHUNKS_AT_ONCE
    answers = [
        _attend(parts, chunks.part(start, start + size), cross, distance)
        for start in range(0, len(chunks.query), size)
    ]
    return torch.cat(answers, dim=1).flatten(1, 2).index_select(1, chunks.token)


def _attend(parts: Projected, chunks: Chunks, cross: CrossTurn | None, distance: int | None) -> Tensor:
    """Attention output of some chunks, padding included, (S, N, Q, D)."""

    def gather(x: Tensor, index: Tensor) -> Tensor:
        """(S, N, H, Q or K, F)."""
        chosen = x.index_select(1, index.flatten())
        return chosen.view(x.shape[0], *index.shape, *x.shape[2:]).transpose(2, 3)

    # Without autocast the precision of the inputs is kept, and nothing is copied between precisions.
    with torch.autocast(parts.query.device.type, enabled=False):
        query, key, value = (
            gather(parts.query, chunks.query),
            gather(parts.key, chunks.key),
            gather(parts.value, chunks.key),
        )
        query = query * query.shape[-1] ** -0.5
        width = query.shape[-2]
        own = chunks.own if distance is None else chunks.own & (chunks.apart <= distance)
        scores = query @ key.transpose(-1, -2)
        weights = scores[..., -width:].masked_fill(~own.unsqueeze(1), NEVER).softmax(dim=-1)
        answer = weights @ value[..., -width:, :]
        if cross is not None and chunks.lags is not None:
            looking = (scores + cross.biases(chunks.lags, scores.dtype)).softmax(dim=-1)
            gates = cross.gates().to(scores.dtype) * chunks.lags.seen[:, None, :, None]
            answer = answer + gates * (looking @ value)
    return answer.transpose(2, 3).flatten(-2)


def pool_packed(encoder: AnyEncoder, state: PackedState, pooling: Pooling) -> Tensor:
    """Pool the turns after the final norm: (S * U, P)."""
    hidden = state.packing.pad(finish(encoder, state.hidden))
    mask = state.packing.mask
    return pool(hidden, mask.repeat(hidden.shape[0] // mask.shape[0], 1), pooling)
