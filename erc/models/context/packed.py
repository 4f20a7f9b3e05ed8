"""One pass over whole conversations without padding: every real token once, attention within turns and, gated, over earlier turns.

Projections and feed-forward layers run over the real tokens of all turns in one row. For attention the row is
cut into chunks of neighbouring turns; the keys of a chunk are its own tokens and those of the W turns before
it, which lie side by side. So nothing is ever as large as the square of a conversation. Without `CrossTurn`,
or with its gates closed, each turn comes out as the encoder alone would give it.

Shapes: S drawn networks, U turns, T tokens of the longest, X real tokens of all turns, X' those in the row of
keys, N chunks, Q tokens of a chunk, K tokens of its keys, D hidden width, H heads, F width of a head, W turns
in the window.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn
from torch.nn import functional as F

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
from erc.models.dropout import active_draw, drawn
from erc.models.encoder.pooling import Pooling, pool

_CHUNK_TOKENS = 96
_CHUNKS_AT_ONCE = 16  # bounds what a long conversation needs at a time
_NEVER = -1e9  # finite, so that a padded query gives numbers that nobody reads instead of NaN


@dataclass(frozen=True, slots=True)
class Row:
    """Tokens side by side: which turn each belongs to, its position in it, its speaker, and its turn's conversation. All (X',) int64.

    Turns are numbered in order, without a gap within a conversation.
    """

    turn: Tensor
    position: Tensor
    speaker: Tensor
    conversation: Tensor

    def __add__(self, other: Row) -> Row:
        """This row and another behind it."""
        names = ("turn", "position", "speaker", "conversation")
        return Row(**{name: torch.cat([getattr(self, name), getattr(other, name)]) for name in names})


@dataclass(frozen=True, slots=True)
class Packing:
    """The packed row of turns (U, T) under `mask` bool: `place` (U, T) says where each token lies in it, X where there is none."""

    mask: Tensor
    place: Tensor

    @classmethod
    def of(cls, attention_mask: Tensor) -> Packing:
        """The packing of turns under attention_mask (U, T)."""
        mask = attention_mask.bool()
        place = (mask.flatten().cumsum(0) - 1).view_as(mask)
        return cls(mask=mask, place=place.masked_fill(~mask, int(mask.sum())))

    def spread(self, values: Tensor) -> Tensor:
        """values (U,) of turns -> (X,) of their tokens."""
        return values.unsqueeze(1).expand_as(self.mask)[self.mask]

    def positions(self) -> Tensor:
        """Each packed token's position within its turn, (X,)."""
        return torch.arange(self.mask.shape[1], device=self.mask.device).expand_as(self.mask)[self.mask]

    def row(self, *, turn: Tensor, speaker: Tensor, conversation: Tensor) -> Row:
        """The row of keys these turns make; turn, speaker and conversation are (U,)."""
        return Row(
            turn=self.spread(turn),
            position=self.positions(),
            speaker=self.spread(speaker),
            conversation=self.spread(conversation),
        )

    def pad(self, packed: Tensor) -> Tensor:
        """packed (S, X, D) -> (S * U, T, D), zeros where there is no token."""
        filled = torch.cat([packed, packed.new_zeros(packed.shape[0], 1, packed.shape[2])], dim=1)
        return filled.index_select(1, self.place.flatten()).view(-1, self.mask.shape[1], packed.shape[2])


@dataclass(frozen=True, slots=True)
class Lags:
    """Which turn looks back how far, turn by turn (I of a chunk's queries, J of its keys and one for padding).

    pair (N, I, J) counts the turns between from 0, W more for the same speaker, and is 2 W where nothing may
    be seen; query (N, Q, I) and key (N, J, K) are 1 where a token is of a turn; seen (N, Q) is 1 for tokens
    that have anything to look back on.
    """

    pair: Tensor
    query: Tensor
    key: Tensor
    seen: Tensor


@dataclass(frozen=True, slots=True)
class Chunks:
    """How the row is cut for attention.

    query (N, Q) and key (N, K) are places in the rows of queries and keys, padded in front, so that the last
    Q keys are the queries' own tokens; token (X,) says where in the flattened (N, Q) each packed token
    stands. own (N, Q, Q) bool marks keys of the query's turn, apart (N, Q, Q) how far they are from it in
    tokens. `lags` is None where no turn has a past.
    """

    query: Tensor
    key: Tensor
    token: Tensor
    own: Tensor
    apart: Tensor
    lags: Lags | None = None

    def part(self, start: int, stop: int) -> Chunks:
        """Chunks `start` up to `stop`; `token` is still that of all."""
        rows = slice(start, stop)
        lags = None
        if self.lags is not None:
            lags = Lags(
                pair=self.lags.pair[rows],
                query=self.lags.query[rows],
                key=self.lags.key[rows],
                seen=self.lags.seen[rows],
            )
        return replace(
            self,
            query=self.query[rows],
            key=self.key[rows],
            own=self.own[rows],
            apart=self.apart[rows],
            lags=lags,
        )


def cut(queries: Row, keys: Row, *, first: int, window: int) -> Chunks:
    """Chunks of `queries`, which is the end of `keys` from place `first` on; a token looks back `window` turns."""
    turns: list[int] = keys.turn.tolist()
    talks: list[int] = keys.conversation.tolist()
    query_spans, key_spans = [], []
    begin = 0
    for start, stop in _spans(turns[first:], talks[first:]):
        here = first + start
        while talks[begin] != talks[here] or turns[begin] < turns[here] - window:
            begin += 1
        query_spans.append(range(start, stop))
        key_spans.append(range(begin, first + stop))
    query, real_query = _table(query_spans, queries.turn.device)
    key, real_key = _table(key_spans, queries.turn.device)
    turn, position = queries.turn[query], queries.position[query]
    own = real_query[:, :, None] & real_query[:, None, :] & (turn[:, :, None] == turn[:, None, :])
    apart = (position[:, :, None] - position[:, None, :]).abs()
    chunks = Chunks(
        query=query, key=key, token=real_query.flatten().nonzero().squeeze(1), own=own, apart=apart
    )
    return (
        replace(chunks, lags=_lags(queries, keys, chunks, real_query, real_key, window)) if window else chunks
    )


def _lags(
    queries: Row, keys: Row, chunks: Chunks, real_query: Tensor, real_key: Tensor, window: int
) -> Lags | None:
    query_turn, query_zero, query_speaker = _turns_of(queries, chunks.query, real_query)
    key_turn, key_zero, key_speaker = _turns_of(keys, chunks.key, real_key)
    rows = torch.arange(query_speaker.shape[1], device=query_turn.device) + query_zero[:, None]
    columns = torch.arange(key_speaker.shape[1], device=query_turn.device) + key_zero[:, None]
    behind = rows[:, :, None] - columns[:, None, :]
    visible = (behind > 0) & (behind <= window)
    visible[:, :, -1] = False  # the last column stands for padding
    pair = behind - 1 + window * (query_speaker[:, :, None] == key_speaker[:, None, :])
    query_is = F.one_hot(query_turn, query_speaker.shape[1])
    key_is = F.one_hot(key_turn, key_speaker.shape[1]).transpose(1, 2)
    seen = visible.any(-1).gather(1, query_turn) & real_query
    if not bool(seen.any()):
        return None
    return Lags(pair=pair.masked_fill(~visible, 2 * window), query=query_is, key=key_is, seen=seen)


def _turns_of(row: Row, place: Tensor, real: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Of a table (N, width) of places: each token's turn counted from the chunk's first, that first turn (N,), and the turns' speakers.

    Padding is given the last of the columns, which is nobody's turn.
    """
    turn = row.turn[place]
    zero = turn.masked_fill(~real, int(turn.max()) + 1).amin(1)
    local = turn - zero[:, None]
    columns = int(local.masked_fill(~real, 0).max()) + 2
    local = local.masked_fill(~real, columns - 1)
    speakers = torch.full((len(place), columns), -1, device=place.device).scatter(
        1, local, row.speaker[place]
    )
    return local, zero, speakers


def _spans(turns: Sequence[int], talks: Sequence[int]) -> list[tuple[int, int]]:
    """Runs of whole turns of one conversation, of at most `_CHUNK_TOKENS` tokens unless a turn alone is longer."""
    spans: list[tuple[int, int]] = []
    start = turn_start = 0
    for place in range(1, len(turns) + 1):
        ended = place == len(turns)
        if not ended and turns[place] == turns[turn_start] and talks[place] == talks[turn_start]:
            continue
        if turn_start > start and (place - start > _CHUNK_TOKENS or talks[turn_start] != talks[start]):
            spans.append((start, turn_start))
            start = turn_start
        turn_start = place
        if ended:
            spans.append((start, place))
    return spans


def _table(spans: Sequence[range], device: torch.device) -> tuple[Tensor, Tensor]:
    """Ranges as a table (N, width) padded in front, and which of its places are real."""
    starts = torch.tensor([span.start for span in spans], device=device).unsqueeze(1)
    stops = torch.tensor([span.stop for span in spans], device=device).unsqueeze(1)
    width = max(len(span) for span in spans)
    place = stops - width + torch.arange(width, device=device)
    real = place >= starts
    return place.masked_fill(~real, 0), real


class CrossTurn(nn.Module):
    """What one layer has learnt about looking back: a gate for each head, and a bias for each head, turn distance and same speaker or not.

    The gate is tanh(g) with g = 0 at the start (`initial=None`): exactly closed; or sigmoid(g) with g =
    `initial`, such as -3: nearly so.
    """

    def __init__(self, *, heads: int, window: int, initial: float | None) -> None:
        super().__init__()
        self.bounded = initial is not None
        self.gate = nn.Parameter(torch.full((heads,), 0.0 if initial is None else initial))
        self.bias = nn.Parameter(torch.zeros(2 * window, heads))

    def gates(self) -> Tensor:
        """How far each head is open, (H, 1, 1)."""
        return (torch.sigmoid(self.gate) if self.bounded else torch.tanh(self.gate))[:, None, None]

    def biases(self, lags: Lags, dtype: torch.dtype) -> Tensor:
        """Logit offsets (N, H, Q, K), learnt for turns and spread to their tokens; what may not be seen is as good as minus infinity."""
        table = torch.cat([self.bias, self.bias.new_full((1, self.bias.shape[1]), _NEVER)]).to(dtype)
        turns = F.embedding(lags.pair, table).transpose(2, 3).flatten(2)  # (N, I, H * J)
        rows = (lags.query.to(dtype) @ turns).view(len(lags.pair), -1, lags.pair.shape[2])  # (N, Q * H, J)
        spread = rows @ lags.key.to(dtype)
        return spread.view(len(spread), lags.query.shape[1], -1, spread.shape[-1]).transpose(1, 2)


@dataclass(frozen=True, slots=True)
class PackedState:
    """Turns on their way through the layers: hidden (S, X, D), and what every layer needs beside it.

    `earlier` holds, for a live turn, each coming layer's keys and values of the turns before it, (S, X' - X,
    H, F).
    """

    hidden: Tensor
    packing: Packing
    rotary: Rotary
    chunks: Chunks
    earlier: Sequence[tuple[Tensor, Tensor]] | None = None

    def repeat(self, times: int) -> PackedState:
        """The same turns for `times` drawn networks."""
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
    """Embeds the real tokens of texts (U, T); positions restart in each text.

    `row` says whose turns they are where tokens look back `window` turns; without it every text stands alone.
    `before` is the row of tokens kept from earlier turns.
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
    """Runs layers `first` up to `last`; also gives each layer's keys and values of these turns, (S, X, H, F)."""
    draw = active_draw()
    if draw is not None:  # a token's mask depends on its position in its own turn
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
    """Attention within each turn, `distance` tokens to either side (None for all), plus gated attention to earlier turns.

    query (S, X, H, F), key and value (S, X', H, F) -> (S, X, D).
    """

    size = (
        len(chunks.query) if torch.is_grad_enabled() else _CHUNKS_AT_ONCE
    )  # training keeps every weight in any case
    answers = [
        _attend(parts, chunks.part(start, start + size), cross, distance)
        for start in range(0, len(chunks.query), size)
    ]
    return torch.cat(answers, dim=1).flatten(1, 2).index_select(1, chunks.token)


def _attend(parts: Projected, chunks: Chunks, cross: CrossTurn | None, distance: int | None) -> Tensor:
    """The answer at every place of some chunks, padding included, (S, N, Q, D)."""

    def gather(x: Tensor, index: Tensor) -> Tensor:
        return (
            x.index_select(1, index.flatten()).view(x.shape[0], *index.shape, *x.shape[2:]).transpose(2, 3)
        )  # (S, N, H, Q or K, F)

    with torch.autocast(
        parts.query.device.type, enabled=False
    ):  # the inputs' precision throughout, no copies to and fro
        query, key, value = (
            gather(parts.query, chunks.query),
            gather(parts.key, chunks.key),
            gather(parts.value, chunks.key),
        )
        query = query * query.shape[-1] ** -0.5
        width = query.shape[-2]
        own = chunks.own if distance is None else chunks.own & (chunks.apart <= distance)
        scores = query @ key.transpose(-1, -2)
        weights = scores[..., -width:].masked_fill(~own.unsqueeze(1), _NEVER).softmax(dim=-1)
        answer = weights @ value[..., -width:, :]
        if cross is not None and chunks.lags is not None:
            looking = (scores + cross.biases(chunks.lags, scores.dtype)).softmax(dim=-1)
            gates = cross.gates().to(scores.dtype) * chunks.lags.seen[:, None, :, None]
            answer = answer + gates * (looking @ value)
    return answer.transpose(2, 3).flatten(-2)


def pool_packed(encoder: AnyEncoder, state: PackedState, pooling: Pooling) -> Tensor:
    """One vector a turn after the final norm, (S * U, P)."""
    hidden = state.packing.pad(finish(encoder, state.hidden))
    mask = state.packing.mask
    return pool(hidden, mask.repeat(hidden.shape[0] // mask.shape[0], 1), pooling)
