"""Many rows into one table, without building each row's statement anew."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from typing import Any, TypeVar

from sqlalchemy import Connection, Dialect, Table

CHUNK = 500
"""Bound parameters per statement: far below every engine's limit."""
Value = TypeVar("Value")


@lru_cache(maxsize=64)
def _statement(
    table: Table, columns: tuple[str, ...], dialect: Dialect
) -> tuple[str, tuple[str, ...] | None]:
    """The driver's own text for inserting these columns, and their order where the driver counts parameters instead of naming them."""
    compiled = table.insert().compile(dialect=dialect, column_keys=list(columns))
    return str(compiled), None if compiled.positiontup is None else tuple(compiled.positiontup)


def insert_rows(connection: Connection, table: Table, rows: Sequence[Mapping[str, Any]]) -> None:
    """Insert rows that all have the same columns, in plain types that the driver takes as they are (no arrays, no enums)."""
    text, order = _statement(table, tuple(rows[0]), connection.dialect)
    if order is None:
        connection.exec_driver_sql(text, [dict(row) for row in rows])
    else:
        connection.exec_driver_sql(text, [tuple(row[column] for column in order) for row in rows])


def in_chunks(values: Sequence[Value]) -> Iterator[list[Value]]:
    """The values in their order, at most `CHUNK` at a time; nothing of nothing."""
    for start in range(0, len(values), CHUNK):
        yield list(values[start : start + CHUNK])
