"""JSON Lines with one object per turn, such as this package writes, or one JSON array of objects."""

from __future__ import annotations

import itertools
import json
import re
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NoReturn

from erc.errors import InputError
from erc.transcripts.readers.columns import Columns, Rows, check_mapping
from erc.transcripts.types import Draft, Line, Log


def read_jsonl(lines: Iterable[Line], *, mapping: Mapping[str, str], log: Log) -> Iterator[Draft]:
    """One turn per line, or per element of one array of objects, which is read as a whole.

    Keys without a field go to `meta["record"]`. A mapped key may be a path into nested objects:
    `--map speaker=author.name`. Slack's messages about who joined or left are skipped.

    Raises:
        InputError: for a mapping of an unknown field.
    """
    check_mapping(mapping)
    rows = Rows(log)
    unseen = dict(mapping)
    columns: Columns | None = None
    described = False
    skipped: list[int] = []
    for number, place, value in _values(lines, log):
        try:
            record = _object(value)
            if record.get("subtype") in _JOIN_OR_LEAVE:
                skipped.append(number)
                continue
            for field, key in mapping.items():
                if record.setdefault(key, _inside(record, key.split("."))) is not None:
                    unseen.pop(field, None)
            # The objects of a file mostly share their keys, so the columns of the line before are reused.
            if columns is None or columns.names != tuple(record):
                columns = Columns(tuple(record), mapping)
        except InputError as error:
            log.problem(number, f"{place}{error}", "skipped")
            continue
        if not described:
            described = True
            log.note(columns.describe().replace("columns", "keys", 1))
        if (draft := rows.draft(columns, record, number)) is not None:
            yield draft
    for field, key in unseen.items():
        log.problem(None, f"--map {field}={key}: no line has this key")
    if skipped:
        log.note(
            f"{len(skipped)} message(s) about people who joined or left are skipped, "
            f"the first is line {skipped[0]}"
        )
    rows.finish()


def sniff_jsonl(lines: Sequence[str], suffix: str) -> tuple[float, str] | None:
    """JSON Lines if the first line is an object, or the file opens an array of objects."""
    if lines[0].lstrip().startswith("{") and _is_object(lines[0], alone=len(lines) == 1):
        return 0.95, "the first line is a JSON object"
    return (0.95, "opens a JSON array of objects") if opens_array(lines) else None


def _is_object(line: str, *, alone: bool) -> bool:
    try:
        return isinstance(json.loads(line), dict)
    except (ValueError, RecursionError):
        # A single long record may be cut off at the end of the sniffed bytes.
        return alone and re.match(r'\s*\{\s*"', line) is not None


def opens_array(lines: Sequence[str]) -> bool:
    """Whether non-blank lines open an array of objects; `[1]` is a broken line of JSON Lines."""
    return re.match(r"\s*\[\s*(?:\{|\]\s*$)", "".join(lines[:2]).lstrip("\ufeff")) is not None


def _values(lines: Iterable[Line], log: Log) -> Iterator[tuple[int, str, Any]]:
    """(line, place in words for messages, value) of every line or element that is JSON."""
    source = (line for line in lines if line.text.strip())
    head = list(itertools.islice(source, 2))
    if opens_array([line.text for line in head]):
        yield from _elements([*head, *source], log)
        return
    for line in itertools.chain(head, source):
        try:
            yield line.number, "", _DECODER.decode(line.text.lstrip("\ufeff"))
        except (InputError, ValueError, RecursionError) as error:
            log.problem(line.number, _reason(error), "skipped")


def _elements(lines: Sequence[Line], log: Log) -> Iterator[tuple[int, str, Any]]:
    """The elements of one array. After a broken element the next cannot be found, so the rest is not read."""
    text = "".join(line.text for line in lines)
    starts = list(itertools.accumulate((len(line.text) for line in lines), initial=0))[:-1]
    at, count = text.index("[") + 1, 0
    while (at := _skip(text, at)) < len(text) and text[at] != "]":
        count += 1
        number = lines[bisect_right(starts, at) - 1].number
        try:
            value, at = _DECODER.raw_decode(text, at)
        except (InputError, ValueError, RecursionError) as error:
            log.problem(
                number,
                f"element {count} of the array: {_reason(error, within=True)}",
                "it and what follows are skipped",
            )
            return
        yield number, f"element {count} of the array: ", value
        if text[(at := _skip(text, at)) : at + 1] not in (",", "]", ""):
            log.problem(
                lines[bisect_right(starts, at) - 1].number,
                f"no comma after element {count} of the array",
                "what follows is skipped",
            )
            return
        at += text[at : at + 1] == ","
    if text[at:].strip() != "]":
        log.problem(
            lines[-1].number,
            "the array has no end, or there is text after its end, which was not read",
        )


def _skip(text: str, at: int) -> int:
    match = _SPACE.match(text, at)
    return match.end() if match is not None else at


def _object(value: Any) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise InputError('not a JSON object; each turn is an object such as {"speaker": "Ana", "text": "Hi"}')
    return value


def _refuse(constant: str) -> NoReturn:
    raise InputError(f"{constant} is not a JSON number")


_DECODER = json.JSONDecoder(parse_constant=_refuse)
_JOIN_OR_LEAVE = (
    "channel_join",
    "channel_leave",
    "group_join",
    "group_leave",
)  # names in Slack's exports
_SPACE = re.compile(r"[ \t\r\n]*")


def _inside(record: Mapping[str, Any], keys: list[str]) -> Any:
    value: Any = record
    for key in keys:
        value = value.get(key) if isinstance(value, dict) else None
    return value


def _reason(error: Exception, *, within: bool = False) -> str:
    if isinstance(error, InputError):
        return str(error)
    if isinstance(error, RecursionError):
        return "nested too deeply"
    if isinstance(error, json.JSONDecodeError):
        return f"not JSON ({error.msg.removesuffix(' at')}{'' if within else f' at column {error.colno}'})"
    return "a number has too many digits"
