"""Batches by token budget, pooling over real tokens, and precision."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from erc.errors import ConfigError
from erc.models.encoder import precision
from erc.models.encoder.batching import length_buckets, pad_tokens
from erc.models.encoder.pooling import masked_mean, pool, pooled_width


@settings(deadline=None)
@given(lengths=st.lists(st.integers(1, 200)), max_tokens=st.integers(1, 500), max_rows=st.integers(1, 20))
def test_length_buckets_hold_every_item_once_within_the_budget(
    lengths: list[int], max_tokens: int, max_rows: int
) -> None:
    buckets = list(length_buckets(lengths, max_tokens=max_tokens, max_rows=max_rows))
    assert sorted(i for bucket in buckets for i in bucket) == list(range(len(lengths)))
    for bucket in buckets:
        assert 1 <= len(bucket) <= max_rows
        assert len(bucket) == 1 or max(lengths[i] for i in bucket) * len(bucket) <= max_tokens


def test_length_buckets_group_similar_lengths() -> None:
    assert list(length_buckets([9, 2, 8, 2, 50], max_tokens=18)) == [[1, 3], [2, 0], [4]]


def test_pad_tokens_pads_on_the_right() -> None:
    ids, mask = pad_tokens([[5, 6, 7], [8]], pad_id=1)
    assert ids.tolist() == [[5, 6, 7], [8, 1, 1]]
    assert mask.tolist() == [[1, 1, 1], [1, 0, 0]]


def test_pooling_ignores_padding() -> None:
    hidden = torch.tensor(
        [[[1.0, 2.0], [3.0, 6.0], [100.0, 100.0]], [[7.0, 8.0], [100.0, 100.0], [100.0, 100.0]]]
    )
    mask = torch.tensor([[1, 1, 0], [1, 0, 0]])
    assert pool(hidden, mask, "mean").tolist() == [[2.0, 4.0], [7.0, 8.0]]
    assert pool(hidden, mask, "cls").tolist() == [[1.0, 2.0], [7.0, 8.0]]
    assert pool(hidden, mask, "mean_cls").tolist() == [[2.0, 4.0, 1.0, 2.0], [7.0, 8.0, 7.0, 8.0]]
    assert [pooled_width(2, kind) for kind in ("mean", "cls", "mean_cls")] == [2, 2, 4]  # type: ignore[arg-type]


def test_pooling_of_an_empty_row_is_zero() -> None:
    assert masked_mean(torch.full((1, 2, 3), 5.0), torch.zeros(1, 2)).tolist() == [[0.0, 0.0, 0.0]]


@pytest.mark.parametrize(
    ("fast", "name", "dtype"), [(True, "bf16", torch.bfloat16), (False, "fp32", torch.float32)]
)
def test_precision_auto_depends_on_the_device(
    monkeypatch: pytest.MonkeyPatch, fast: bool, name: str, dtype: torch.dtype
) -> None:
    monkeypatch.setattr(precision, "bf16_is_fast", lambda: fast)
    assert precision.resolve_precision("auto") == name
    assert precision.torch_dtype("auto") is dtype
    assert precision.torch_dtype("fp32") is torch.float32


def test_precision_with_an_unknown_format_is_refused_by_name() -> None:
    with pytest.raises(ConfigError, match="'fp16' is unknown: use auto, bf16 or fp32"):
        precision.resolve_precision("fp16")
