"""The option `--map` of commands that read transcripts."""

from __future__ import annotations

import re
from collections.abc import Iterable

from erc.errors import ConfigError

# A comma separates two pairs only if a pair follows it. Otherwise it belongs to the name of a column.
_PAIRS = re.compile(r'(?:"(?:[^"]|"")*"|[^,]|,(?!\s*\w+\s*=))+')


def column_mapping(pairs: Iterable[str]) -> dict[str, str]:
    """Parse `--map field=column`; one option may have several pairs, separated by commas.

    A column's name may contain commas, and may be quoted as in CSV.

    Raises:
        ConfigError: for an item that is not a pair, and for a field with two columns.
    """
    mapping: dict[str, str] = {}
    for item in (part for pair in pairs for part in _PAIRS.findall(pair) or [pair]):
        field, equals, column = (part.strip() for part in item.partition("="))
        if len(column) > 1 and column[0] == column[-1] == '"':
            column = column[1:-1].replace('""', '"')
        if not equals or not field or not column:
            raise ConfigError(
                f"--map {item}: write field=column, for example --map text=message --map speaker=who"
            )
        if mapping.get(field, column) != column:
            raise ConfigError(
                f"--map gives {field} twice, as {mapping[field]!r} and as {column!r}: choose one"
            )
        mapping[field] = column
    return mapping
