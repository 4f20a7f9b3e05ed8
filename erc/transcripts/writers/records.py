"""Helpers of the writers: the values of a record as plain JSON values."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from erc.transcripts.decoding import scrub


def plain(value: Any) -> Any:
    """`value` of lists, dicts, strings and numbers alone, its strings fit for UTF-8; NumPy numbers become Python's.

    Raises TypeError for anything else.
    """
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, str):
        return scrub(value)[0]
    if isinstance(value, int | float):
        # A subclass such as numpy.float64 is brought back to what JSON and Parquet print.
        return float(value) if isinstance(value, float) else int(value)
    if isinstance(value, Mapping):
        return {scrub(str(key))[0]: plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if callable(item := getattr(value, "tolist", None)):
        return plain(item())
    raise TypeError(f"{type(value).__name__} is no JSON value")


def name_of(record: Mapping[str, Any]) -> str:
    """How messages call a record."""
    return f"the record {record.get('utterance_id', '?')!r}"
