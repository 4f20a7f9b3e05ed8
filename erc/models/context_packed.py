"""One pass over whole conversations without padding: every real token once, attention within turns and, gated, over earlier turns.

Projections and feed-forward layers run over the real tokens of all turns in one row (X of them), and attention over padded blocks of
turns, so nothing is ever as large as the square of a conversation. With `CrossTurn` absent or its gates closed, each turn comes out as
the encoder alone would give it.

Shapes: S drawn networks, U turns, T tokens of the longest, X real tokens of all turns, P tokens of a turn's window of earlier turns, D
hidden width, H heads, F width of a head, W turns in the window.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from erc.models.context_parts import AnyEncoder, Projected, Rotary, embed, finish, heads_of, merge, own_mask, project, reach
from erc.models.dropout import active_draw, drawn
from erc.models.pooling import Pooling, pool
from erc.models.turns import TurnBatch


@dataclass(frozen=True, slots=True)
class Packing:
    """Where each turn's tokens lie in the packed row: mask (U, T) bool, place (U, T) indices into the row, X where there is none."""

    mask: Tensor
    place: Tensor

    @classmethod
    def of(cls, attention_mask: Tensor) -> Packing:
        """The packing of turns under attention_mask (U, T)."""
        mask = attention_mask.bool()
        place = (mask.flatten().cumsum(0) - 1).view_as(mask)
        return cls(mask=mask, place=place.masked_fill(~mask, int(mask.sum())))

    @property
    def positions(self) -> Tensor:
        """Each packed token's position within its turn, (1, X)."""
        return torch.arange(self.mask.shape[1], device=self.mask.device).expand_as(self.mask)[self.mask].unsqueeze(0)

    def pad(self, packed: Tensor) -> Tensor:
        """packed (S, X, ...) -> (S * U, T, ...), zeros where there is no token."""
        filled = torch.cat([packed, packed.new_zeros(packed.shape[0], 1, *packed.shape[2:])], dim=1)
        return filled.index_select(1, self.place.flatten()).view(-1, self.mask.shape[1], *packed.shape[2:])

    def pack(self, padded: Tensor) -> Tensor:
        """padded (S * U, T, ...) -> (S, X, ...)."""
        index = self.mask.flatten().nonzero().squeeze(1)
        return padded.reshape(-1, self.mask.numel(), *padded.shape[2:]).index_select(1, index)


@dataclass(frozen=True, slots=True)
class Past:
    """The tokens of earlier turns that each turn may attend to.

    place (U, P) indices into the keys, mask (U, P) bool, distance (U, P) in turns, 1 to W, same_speaker (U, P) bool.
    """

    place: Tensor
    mask: Tensor
    distance: Tensor
    same_speaker: Tensor


def past_of(batch: TurnBatch, *, window: int) -> Past | None:
    """For every turn the real tokens of the `window` turns before it in its conversation; None where there are none at all."""
    lengths: list[int] = batch.attention_mask.sum(1).tolist()
    starts = [0]
    for length in lengths:
        starts.append(starts[-1] + length)
    turns: list[int] = batch.turn.tolist()
    speakers: list[int] = batch.local_speaker.tolist()
    rows: list[tuple[list[int], list[int], list[int]]] = []
    first_row = 0
    for row, turn in enumerate(turns):
        if turn == 0:
            first_row = row
        before = range(max(first_row, row - window), row)
        place = list(range(starts[before.start], starts[row])) if before else []
        distance = [row - other for other in before for _ in range(lengths[other])]
        same = [int(speakers[other] == speakers[row]) for other in before for _ in range(lengths[other])]
        rows.append((place, distance, same))
    width = max(len(place) for place, _, _ in rows)
    if width == 0:
        return None
    table = torch.zeros(len(rows), 4, width, dtype=torch.long)
    for row, (place, distance, same) in enumerate(rows):
        if place:
            table[row, :, : len(place)] = torch.tensor([place, [1] * len(place), distance, same])
    table = table.to(batch.input_ids.device)
    return Past(place=table[:, 0], mask=table[:, 1].bool(), distance=table[:, 2], same_speaker=table[:, 3].bool())


class CrossTurn(nn.Module):
    """What one layer has learnt about looking back: a gate for each head, and a bias for each head, turn distance and same speaker or not.

    The gate is tanh(g) with g = 0 at the start (`initial=None`): exactly closed; or sigmoid(g) with g = `initial`, such as -3: nearly so.
    """

    def __init__(self, *, heads: int, window: int, initial: float | None) -> None:
        super().__init__()
        self.bounded = initial is not None
        self.gate = nn.Parameter(torch.full((heads,), 0.0 if initial is None else initial))
        self.bias = nn.Parameter(torch.zeros(heads, 2, window))

    def gates(self) -> Tensor:
        """How far each head is open, (H,)."""
        return torch.sigmoid(self.gate) if self.bounded else torch.tanh(self.gate)

    def biases(self, past: Past) -> Tensor:
        """Logit offsets (U, H, 1, P) for tokens of earlier turns, minus infinity where there is no token."""
        bias = self.bias[:, past.same_speaker.long(), past.distance.clamp(min=1) - 1]  # (H, U, P)
        return bias.masked_fill(~past.mask, -torch.inf).transpose(0, 1).unsqueeze(2)


@dataclass(frozen=True, slots=True)
class PackedState:
    """Turns on their way through the layers: hidden (S, X, D), and what every layer needs beside it.

    `earlier` holds, for a live turn, each layer's keys and values of the turns before it, (S, X', H, F).
    """

    hidden: Tensor
    packing: Packing
    rotary: Rotary
    past: Past | None
    earlier: Sequence[tuple[Tensor, Tensor]] | None = None

    def repeat(self, times: int) -> PackedState:
        """The same turns for `times` drawn networks."""
        return replace(self, hidden=self.hidden.repeat(times, 1, 1))


def start_packed(encoder: AnyEncoder, *, input_ids: Tensor, attention_mask: Tensor, past: Past | None = None) -> PackedState:
    """Embeds the real tokens of texts (U, T); positions restart in each text."""
    packing = Packing.of(attention_mask)
    hidden, rotary = embed(encoder, input_ids[packing.mask].unsqueeze(0), packing.positions)
    return PackedState(hidden=hidden, packing=packing, rotary=rotary, past=past)


def run_packed(
    encoder: AnyEncoder, cross: nn.ModuleList | None, state: PackedState, *, first: int = 0, last: int | None = None
) -> tuple[PackedState, list[tuple[Tensor, Tensor]]]:
    """Runs layers `first` up to `last`; also gives each layer's keys and values of these turns, (S, X, H, F)."""
    draw = active_draw()
    if draw is not None:  # a token's mask depends on its position in its own turn
        with drawn(replace(draw, positions=state.packing.positions)):
            return _run(encoder, cross, state, first, last)
    return _run(encoder, cross, state, first, last)


def _run(
    encoder: AnyEncoder, cross: nn.ModuleList | None, state: PackedState, first: int, last: int | None
) -> tuple[PackedState, list[tuple[Tensor, Tensor]]]:
    hidden, kept = state.hidden, []
    heads = heads_of(encoder)
    masks: dict[int | None, Tensor] = {}
    for number, layer in list(enumerate(encoder.layers))[first:last]:
        parts = project(layer, hidden, state.rotary, heads=heads)
        distance = reach(layer)
        if distance not in masks:
            masks[distance] = own_mask(state.packing.mask, distance)
        query = state.packing.pad(parts.query).transpose(1, 2)  # (S * U, H, T, F)
        attended = _attend_own(query, parts, state.packing, masks[distance])
        if cross is not None and state.past is not None:
            looking_back: CrossTurn = cross[number]  # type: ignore[assignment]
            keys, values = (parts.key, parts.value) if state.earlier is None else state.earlier[number - first]
            gates = looking_back.gates()[:, None, None].to(attended.dtype)
            attended = attended + gates * _attend_past(query, keys, values, state.past, looking_back)
        hidden = merge(layer, hidden, state.packing.pack(attended.transpose(1, 2)).flatten(-2))
        kept.append((parts.key, parts.value))
    return replace(state, hidden=hidden), kept


def _attend_own(query: Tensor, parts: Projected, packing: Packing, mask: Tensor) -> Tensor:
    """Attention within each turn: query (S * U, H, T, F) -> (S * U, H, T, F)."""
    key, value = (packing.pad(part).transpose(1, 2) for part in (parts.key, parts.value))
    copies = query.shape[0] // mask.shape[0]
    # A padded query attends to the turn's first token, which keeps its (unused) answer finite where local attention reaches no real token.
    empty = ~mask.any(dim=-1, keepdim=True)
    mask = mask | (empty & (torch.arange(mask.shape[-1], device=mask.device) == 0))
    return F.scaled_dot_product_attention(query, key, value, attn_mask=mask.repeat(copies, 1, 1, 1))


def _attend_past(query: Tensor, keys: Tensor, values: Tensor, past: Past, cross: CrossTurn) -> Tensor:
    """Attention to earlier turns: query (S * U, H, T, F), keys and values (S, X', H, F) -> (S * U, H, T, F), zeros without a past."""
    turns, width = past.place.shape
    chosen = past.place.flatten()

    def gather(x: Tensor) -> Tensor:
        return x.index_select(1, chosen).view(-1, width, *x.shape[2:]).transpose(1, 2)  # (S * U, H, P, F)

    copies = query.shape[0] // turns
    nothing = ~past.mask.any(dim=1)
    bias = cross.biases(past).masked_fill(nothing[:, None, None, None], 0.0).to(query.dtype)
    answer = F.scaled_dot_product_attention(query, gather(keys), gather(values), attn_mask=bias.repeat(copies, 1, 1, 1))
    return answer.masked_fill(nothing.repeat(copies)[:, None, None, None], 0.0)


def pool_packed(encoder: AnyEncoder, state: PackedState, pooling: Pooling) -> Tensor:
    """One vector a turn after the final norm, (S * U, P)."""
    hidden = state.packing.pad(finish(encoder, state.hidden))
    mask = state.packing.mask
    return pool(hidden, mask.repeat(hidden.shape[0] // mask.shape[0], 1), pooling)
