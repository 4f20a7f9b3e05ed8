"""Long lists in statements: a few bound parameters at a time."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TypeVar

CHUNK = 500
"""Bound parameters per statement: far below every engine's limit."""

Value = TypeVar("Value")


def in_chunks(values: Sequence[Value]) -> Iterator[list[Value]]:
    """The values in their order, at most `CHUNK` at a time; nothing of nothing."""
    for start in range(0, len(values), CHUNK):
        yield list(values[start : start + CHUNK])
