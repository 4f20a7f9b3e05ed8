"""Attention over chunks of turns equals attention over all pairs of tokens; its cost grows linearly."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from erc.models.context.chunks import cut
from erc.models.context.cross_turn import CrossTurn
from erc.models.context.layers import Projected
from erc.models.context.packed import attend
from erc.models.context.packing import Packing, Row

HEADS, WIDTH = 2, 4
TALKS = st.lists(
    st.lists(st.tuples(st.integers(1, 60), st.integers(0, 2)), min_size=1, max_size=9), min_size=1, max_size=3
)


def rows(talks: list[list[tuple[int, int]]]) -> Row:
    """The packed row of conversations; each turn is given as (tokens, speaker)."""
    turns = [
        (talk, turn, tokens, speaker)
        for talk, given in enumerate(talks)
        for turn, (tokens, speaker) in enumerate(given)
    ]
    mask = torch.zeros(len(turns), max(tokens for _, _, tokens, _ in turns))
    for place, (_, _, tokens, _) in enumerate(turns):
        mask[place, :tokens] = 1
    columns = torch.tensor([(turn, speaker, talk) for talk, turn, _, speaker in turns]).unbind(1)
    return Packing.of(mask).row(**dict(zip(("turn", "speaker", "conversation"), columns, strict=True)))


def layer(window: int) -> CrossTurn:
    torch.manual_seed(0)
    cross = CrossTurn(heads=HEADS, window=window, initial=None).double()
    cross.gate.data.copy_(torch.tensor([0.7, -1.2]))
    cross.bias.data.normal_()
    return cross


def plainly(parts: Projected, row: Row, cross: CrossTurn, window: int, distance: int | None) -> Tensor:
    """The same attention, computed for all pairs of tokens in the row."""
    query, key, value = (part.transpose(1, 2) for part in parts)
    scores = query @ key.transpose(-1, -2) / WIDTH**0.5
    behind = row.turn[:, None] - row.turn[None]
    together = row.conversation[:, None] == row.conversation[None]
    own = together & (behind == 0)
    if distance is not None:
        own &= (row.position[:, None] - row.position[None]).abs() <= distance
    past = together & (behind > 0) & (behind <= window)
    lag = (behind - 1).clamp(0, window - 1) + window * (row.speaker[:, None] == row.speaker[None])
    near = scores.masked_fill(~own, -torch.inf).softmax(-1)
    far = (
        (scores + cross.bias[lag].permute(2, 0, 1)).masked_fill(~past, -torch.inf).softmax(-1).nan_to_num(0.0)
    )
    return ((near + cross.gates() * far) @ value).transpose(1, 2).flatten(2)


@pytest.mark.parametrize("distance", [None, 3])
@settings(deadline=None, max_examples=40)
@given(talks=TALKS, window=st.integers(1, 4))
@torch.no_grad()
def test_attention_over_chunks_equals_attention_over_all_pairs(
    distance: int | None, talks: list[list[tuple[int, int]]], window: int
) -> None:
    row, cross = rows(talks), layer(window)
    generator = torch.Generator().manual_seed(1)
    parts = Projected(
        *(
            torch.randn(2, len(row.turn), HEADS, WIDTH, generator=generator, dtype=torch.float64)
            for _ in range(3)
        )
    )
    found = attend(parts, cut(row, row, first=0, window=window), cross, distance=distance)
    torch.testing.assert_close(found, plainly(parts, row, cross, window, distance), atol=1e-10, rtol=0)


def test_chunk_size_does_not_depend_on_the_conversation_length() -> None:
    short, long = (
        cut(row, row, first=0, window=3) for row in (rows([[(10, 0)] * 40]), rows([[(10, 0)] * 400]))
    )
    assert short.key.shape[1] == long.key.shape[1] == 90 + 3 * 10
    assert long.key.shape[0] == pytest.approx(10 * short.key.shape[0], rel=0.1)


def test_packing_pad_reverses_packing() -> None:
    mask = torch.tensor([[1, 1, 0], [1, 0, 0], [1, 1, 1]])
    packing = Packing.of(mask)
    packed = torch.arange(1.0, 7.0).view(1, 6, 1)
    assert packing.pad(packed).squeeze(-1).tolist() == [[1, 2, 0], [3, 0, 0], [4, 5, 6]]
    assert packing.positions().tolist() == [0, 1, 0, 0, 1, 2]
