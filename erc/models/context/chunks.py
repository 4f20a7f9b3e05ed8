"""Cutting a packed row into chunks of neighbouring turns for attention.

The keys of a chunk are its own tokens and those of the W turns before it, which are next to it in the row. So
memory grows with the length of a conversation, not with its square.

Shapes: X packed tokens, N chunks, Q tokens of a chunk, K tokens of its keys, I turns of a chunk's queries, J
turns of its keys and one column for padding, W turns in the window.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.nn import functional as F

from erc.models.context.packing import Row

_CHUNK_TOKENS = 96


@dataclass(frozen=True, slots=True)
class Lags:
    """The distance in turns from the turns of a chunk's queries to those of its keys.

    Attributes:
        pair: Distance minus 1, plus W if both turns are of one speaker; 2 W if the key may not be seen,
            (N, I, J).
        query: 1 where a query token belongs to a turn, (N, Q, I).
        key: 1 where a key token belongs to a turn, (N, J, K).
        seen: 1 for tokens that see at least one earlier turn, (N, Q).
    """

    pair: Tensor
    query: Tensor
    key: Tensor
    seen: Tensor


@dataclass(frozen=True, slots=True)
class Chunks:
    """A packed row cut for attention.

    Attributes:
        query: Indices in the row of queries, padded in front, (N, Q).
        key: Indices in the row of keys, padded in front, (N, K). The last Q keys are the queries' own tokens.
        token: Index of each packed token in the flattened (N, Q), (X,).
        own: Which keys belong to the query's turn, (N, Q, Q) bool.
        apart: Distance in tokens from query to key, (N, Q, Q).
        lags: Distances in turns; None if no turn has a past.
    """

    query: Tensor
    key: Tensor
    token: Tensor
    own: Tensor
    apart: Tensor
    lags: Lags | None = None

    def part(self, start: int, stop: int) -> Chunks:
        """Chunks `start` up to (not including) `stop`; `token` keeps the indices of all chunks."""
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
    """Cut `queries`, the part of `keys` from index `first` on; a token sees `window` turns back."""
    turns: list[int] = keys.turn.tolist()
    conversations: list[int] = keys.conversation.tolist()
    query_spans, key_spans = [], []
    begin = 0
    for start, stop in _spans(turns[first:], conversations[first:]):
        here = first + start
        while conversations[begin] != conversations[here] or turns[begin] < turns[here] - window:
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
    """For a table (N, width) of row indices: each token's turn, the chunk's first turn (N,), the speakers.

    Turns are counted from the chunk's first. Padding gets the last column, which belongs to no turn.
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


def _spans(turns: Sequence[int], conversations: Sequence[int]) -> list[tuple[int, int]]:
    """Runs of whole turns of one conversation, of at most `_CHUNK_TOKENS` tokens or one longer turn."""
    spans: list[tuple[int, int]] = []
    start = turn_start = 0
    for place in range(1, len(turns) + 1):
        ended = place == len(turns)
        if (
            not ended
            and turns[place] == turns[turn_start]
            and conversations[place] == conversations[turn_start]
        ):
            continue
        if turn_start > start and (
            place - start > _CHUNK_TOKENS or conversations[turn_start] != conversations[start]
        ):
            spans.append((start, turn_start))
            start = turn_start
        turn_start = place
        if ended:
            spans.append((start, place))
    return spans


def _table(spans: Sequence[range], device: torch.device) -> tuple[Tensor, Tensor]:
    """Ranges as a table (N, width) padded in front, and a mask of its real entries."""
    starts = torch.tensor([span.start for span in spans], device=device).unsqueeze(1)
    stops = torch.tensor([span.stop for span in spans], device=device).unsqueeze(1)
    width = max(len(span) for span in spans)
    place = stops - width + torch.arange(width, device=device)
    real = place >= starts
    return place.masked_fill(~real, 0), real
