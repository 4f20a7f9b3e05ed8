"""Helpers of the writers: the values of a record as plain JSON values."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from erc.transcripts.decoding import scrub


def plain(value: Any) -> Any:
    """`value` as lists, dicts, valid UTF-8 strings and Python numbers, also from NumPy values.

    Raises:
        TypeError: for a value of another type.
    """
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, str):
        return scrub(value)[0]
    if isinstance(value, int | float):
        # JSON and Parquet print a subclass such as numpy.float64 in other ways.
        return float(value) if isinstance(value, float) else int(value)
    if isinstance(value, Mapping):
        return {scrub(str(key))[0]: plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if callable(item := getattr(value, "tolist", None)):
        return plain(item())
    raise TypeError(f"{type(value).__name__} is not a JSON value")


def name_of(record: Mapping[str, Any]) -> str:
    """The name of a record in messages."""
    return f"the record {record.get('utterance_id', '?')!r}"
