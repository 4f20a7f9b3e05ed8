"""JSON Lines: one object per turn, our own records among them."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NoReturn

from erc.errors import InputError
from erc.transcripts.columns import Columns, Rows, check_mapping
from erc.transcripts.nouns import Draft, Line, Log


def read_jsonl(lines: Iterable[Line], *, mapping: Mapping[str, str], log: Log) -> Iterator[Draft]:
    """One turn per line; blank lines are passed over, keys that map to no field go to `meta["record"]`.

    A mapped key may be a path into nested objects: `--map speaker=author.name`.
    """
    check_mapping(mapping)
    rows = Rows(log)
    unseen = dict(mapping)
    columns: Columns | None = None
    told = False
    for line in lines:
        if not line.text.strip():
            continue
        try:
            record = _parse(line.text)
            for field, key in mapping.items():
                if record.setdefault(key, _inside(record, key.split("."))) is not None:
                    unseen.pop(field, None)
            # Objects of one file mostly share their keys, so the choice of the line before is tried first.
            if columns is None or columns.names != tuple(record):
                columns = Columns(tuple(record), mapping)
        except (InputError, ValueError, RecursionError) as error:
            log.problem(line.number, f"{_reason(error)}: skipped")
            continue
        if not told:
            told = True
            log.note(columns.told().replace("columns", "keys", 1))
        if (draft := rows.draft(columns, record, line.number)) is not None:
            yield draft
    for field, key in unseen.items():
        log.problem(None, f"--map {field}={key}: no line has this key")
    rows.finish()


def _parse(text: str) -> dict[str, Any]:
    record = json.loads(text.lstrip("\ufeff"), parse_constant=_refuse)
    if not isinstance(record, dict):
        raise InputError('not a JSON object (one object per line is needed, as in {"speaker": "Ana", "text": "Hi"})')
    return record


def _refuse(constant: str) -> NoReturn:
    raise InputError(f"{constant} is no JSON number")


def _inside(record: Mapping[str, Any], keys: list[str]) -> Any:
    value: Any = record
    for key in keys:
        value = value.get(key) if isinstance(value, dict) else None
    return value


def _reason(error: Exception) -> str:
    if isinstance(error, InputError):
        return str(error)
    if isinstance(error, RecursionError):
        return "nested too deeply"
    if isinstance(error, json.JSONDecodeError):
        return f"not JSON ({error.msg} at column {error.colno})"
    return "a number has too many digits"
