"""`--map` of every verb that reads transcripts."""

from __future__ import annotations

from collections.abc import Iterable

from erc.errors import ConfigError


def column_mapping(pairs: Iterable[str]) -> dict[str, str]:
    """The columns that `--map field=column` names, several in one option parted by commas. Raises ConfigError for what is no such pair."""
    mapping: dict[str, str] = {}
    for item in (part for pair in pairs for part in pair.split(",")):
        field, equals, column = item.partition("=")
        if not equals or not field.strip() or not column.strip():
            raise ConfigError(f"--map {item}: write field=column, for example --map text=message --map speaker=who")
        mapping[field.strip()] = column.strip()
    return mapping
