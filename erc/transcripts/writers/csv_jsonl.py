"""Writers of JSON Lines and CSV."""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Mapping
from typing import Any, BinaryIO

from erc.errors import InputError
from erc.transcripts.spreadsheet_safety import defuse
from erc.transcripts.writers.records import name_of, plain

CSV_COLUMNS = (
    "conversation_id",
    "utterance_id",
    "index",
    "speaker",
    "speaker_id",
    "text",
    "start",
    "end",
    "timestamp",
    "emotion",
    "confidence",
    "decision",
    "uncertainty_total",
    "uncertainty_aleatoric",
    "uncertainty_epistemic",
    "probabilities",
    "fine",
    "model",
    "history_utterances",
    "history_conversations",
    "truncated",
    "prompt",
    "score_kind",
)
"""The columns of every CSV file.

`probabilities` and `fine` are JSON texts, `truncated` is true or false. The last two are empty except for
language models.
"""
_NESTED = ("uncertainty", "history")


class JsonlWriter:
    """Writes one JSON object per line in UTF-8 with all keys of the record. Refuses NaN and Infinity."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream

    def write(self, record: Mapping[str, Any]) -> None:
        """Write one record.

        Raises:
            InputError: for a value that JSON cannot hold.
        """
        self._stream.write((_json(record, record) + "\n").encode())

    def finish(self) -> None:
        """Do nothing: no record is buffered."""

    def discard(self) -> None:
        """Do nothing: no resource is open."""


class CsvWriter:
    """Writes CSV in UTF-8 with `CSV_COLUMNS`; other keys of a record are left out.

    Texts are protected from being run as formulas (see `erc.transcripts.spreadsheet_safety`). Numbers, also
    negative ones, are written as numbers.
    """

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self._buffer = io.StringIO(newline="")
        self._rows = csv.writer(self._buffer, lineterminator="\r\n")
        self._row(CSV_COLUMNS)

    def write(self, record: Mapping[str, Any]) -> None:
        """Write one record.

        Raises:
            InputError: for a number that is not finite.
        """
        self._row([self._cell(record, column) for column in CSV_COLUMNS])

    def finish(self) -> None:
        """Do nothing: no record is buffered."""

    def discard(self) -> None:
        """Do nothing: no resource is open."""

    def _row(self, cells: Any) -> None:
        self._rows.writerow(cells)
        self._stream.write(self._buffer.getvalue().encode())
        self._buffer.seek(0)
        self._buffer.truncate()

    def _cell(self, record: Mapping[str, Any], column: str) -> Any:
        outer, _, inner = column.partition("_")
        if outer in _NESTED:
            value = (record.get(outer) or {}).get(inner)
        else:
            value = record.get(column)
        if value is None:
            return ""
        if column in ("probabilities", "fine") or isinstance(value, bool):
            return _json(value, record)
        try:
            value = plain(value)
        except TypeError as error:
            raise InputError(f"{name_of(record)}: {column}: {error}") from error
        if isinstance(value, float) and not math.isfinite(value):
            raise InputError(f"{name_of(record)}: {column} is {value}, not a finite number")
        return defuse(value) if isinstance(value, str) else value


def _json(value: Any, record: Mapping[str, Any]) -> str:
    try:
        return json.dumps(plain(value), ensure_ascii=False, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise InputError(f"{name_of(record)} cannot be written as JSON: {error}") from error
