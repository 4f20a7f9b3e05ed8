"""Inserts many rows without rebuilding the statement for each, and splits long lists of values."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from typing import Any, TypeVar

from sqlalchemy import Connection, Dialect, Table

CHUNK = 500
"""Bound parameters in one statement: far below the limit of either engine."""
Value = TypeVar("Value")


@lru_cache(maxsize=64)
def _statement(
    table: Table, columns: tuple[str, ...], dialect: Dialect
) -> tuple[str, tuple[str, ...] | None]:
    """The INSERT in the driver's own syntax, and the parameter order where parameters are positional."""
    # `inline` keeps the compiler from adding RETURNING, which many rows do not need.
    compiled = table.insert().inline().compile(dialect=dialect, column_keys=list(columns))
    return str(compiled), None if compiled.positiontup is None else tuple(compiled.positiontup)


def insert_rows(connection: Connection, table: Table, rows: Sequence[Mapping[str, Any]]) -> None:
    """Insert rows that all have the same columns.

    Values are plain types that the driver accepts, not arrays or enums.
    """
    text, order = _statement(table, tuple(rows[0]), connection.dialect)
    if order is None:
        connection.exec_driver_sql(text, [dict(row) for row in rows])
    else:
        connection.exec_driver_sql(text, [tuple(row[column] for column in order) for row in rows])


def in_chunks(values: Sequence[Value]) -> Iterator[list[Value]]:
    """The values in order, in lists of at most `CHUNK`; no list at all for no values."""
    for start in range(0, len(values), CHUNK):
        yield list(values[start : start + CHUNK])
