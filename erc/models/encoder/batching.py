"""Batches by token budget; texts of similar length share a batch, so that padding is short."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor


def length_buckets(lengths: Sequence[int], *, max_tokens: int, max_rows: int = 1024) -> Iterator[list[int]]:
    """Groups of indices, shortest first, of at most `max_tokens` padded tokens and `max_rows` rows.

    An item longer than the budget is a group by itself.
    """
    batch: list[int] = []
    for index in sorted(range(len(lengths)), key=lambda i: (lengths[i], i)):
        if batch and (lengths[index] * (len(batch) + 1) > max_tokens or len(batch) >= max_rows):
            yield batch
            batch = []
        batch.append(index)
    if batch:
        yield batch


def pad_tokens(rows: Sequence[Sequence[int]], *, pad_id: int) -> tuple[Tensor, Tensor]:
    """Right-padded input ids and attention mask, both int64 (B, T)."""
    width = max(len(row) for row in rows)
    input_ids = torch.full((len(rows), width), pad_id, dtype=torch.long)
    mask = torch.zeros((len(rows), width), dtype=torch.long)
    for i, row in enumerate(rows):
        input_ids[i, : len(row)] = torch.tensor(row, dtype=torch.long)
        mask[i, : len(row)] = 1
    return input_ids, mask
