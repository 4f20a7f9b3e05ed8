"""CSV and TSV with a header line and one turn per record."""

from __future__ import annotations

import csv
import itertools
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence

from erc.errors import InputError
from erc.transcripts.readers.columns import Columns, Rows, check_mapping
from erc.transcripts.readers.hints import TABLE_SUFFIXES, chat_senders
from erc.transcripts.spreadsheet_safety import restore
from erc.transcripts.types import Draft, Line, Log

LONGEST_RECORD = 10_000
"""Lines that a quoted cell may span. In a longer cell the closing quote is missing."""

_LONGEST_HEADER = 50_000
_LONGEST_CELL = 2**31 - 1


def sniff_csv(lines: Sequence[str], suffix: str) -> tuple[float, str] | None:
    """CSV if the first line is a header that names a text column."""
    return None if delimiter_of(lines[0]) == "\t" else _sniff(lines, suffix)


def sniff_tsv(lines: Sequence[str], suffix: str) -> tuple[float, str] | None:
    """As `sniff_csv` for tabs."""
    return _sniff(lines, suffix) if delimiter_of(lines[0]) == "\t" else None


def _sniff(lines: Sequence[str], suffix: str) -> tuple[float, str] | None:
    names = [cell.strip().strip('"') for cell in lines[0].split(delimiter_of(lines[0]))]
    is_table = suffix in TABLE_SUFFIXES
    if len(names) < 2 and not is_table:
        return None
    try:
        chosen = Columns(names, {}).chosen
    except InputError:
        return None
    if chat_senders(lines, suffix):
        return None
    if not is_table and "speaker" not in chosen:
        return 0.6, f"the first line reads like a header ({', '.join(names[:6])})"
    return 0.9, f"a header with {len(names)} columns, the text in {chosen['text']!r}"


def read_csv(lines: Iterable[Line], *, mapping: Mapping[str, str], log: Log) -> Iterator[Draft]:
    """Turns of a table, separated by the comma, semicolon, tab or bar that gives the most header cells.

    Raises:
        InputError: for a file without a header line, an unknown field or column, or no column of texts.
    """
    return _read(lines, None, mapping, log)


def read_tsv(lines: Iterable[Line], *, mapping: Mapping[str, str], log: Log) -> Iterator[Draft]:
    """As `read_csv`, separated by tabs.

    Raises:
        InputError: as `read_csv`.
    """
    return _read(lines, "\t", mapping, log)


def delimiter_of(header: str) -> str:
    """The delimiter that gives the most cells in `header`; the comma if none occurs."""
    header = header[:_LONGEST_HEADER].rstrip("\r\n")
    return max(",;\t|", key=lambda mark: len(next(csv.reader([header], delimiter=mark), [])))


def _read(
    lines: Iterable[Line], delimiter: str | None, mapping: Mapping[str, str], log: Log
) -> Iterator[Draft]:
    check_mapping(mapping)
    # The csv module's limit of 131,072 characters holds for the whole process, so it is only raised.
    if csv.field_size_limit() < _LONGEST_CELL:
        csv.field_size_limit(_LONGEST_CELL)
    records = _records(lines, delimiter, log)
    header_line, header = next(records, (1, []))
    names = unique_column_names([name.strip().lstrip("\ufeff") for name in header], log)
    columns = Columns(names, mapping, path=log.path, line=header_line)
    log.note(columns.describe())
    rows = Rows(log)
    for line, cells in records:
        if len(cells) > len(names) and any(cells[len(names) :]):
            log.problem(
                line,
                f"{len(cells)} cells under a header of {len(names)} (a text with the delimiter needs quotes)",
                "skipped",
            )
            continue
        row = dict(zip(names, restored(cells) if columns.own else cells, strict=False))
        row.setdefault(columns.chosen["text"], "")
        if (draft := rows.draft(columns, row, line)) is not None:
            yield draft
    rows.finish()


def restored(cells: Sequence[str]) -> list[str]:
    """Cells of a file of this package, without the apostrophes that protect from formulas."""
    return [restore(cell) for cell in cells]


def unique_column_names(names: Sequence[str], log: Log) -> list[str]:
    """The names of the columns; a later column of the same name becomes `text (2)`, with a note."""
    unique: list[str] = []
    for name in names:
        called = name
        if name in unique and name:
            called = next(other for copy in itertools.count(2) if (other := f"{name} ({copy})") not in unique)
            log.note(
                f"the column {name!r} is repeated: the first keeps the name, a later one is called {called!r}"
            )
        unique.append(called)
    return unique


def _records(lines: Iterable[Line], delimiter: str | None, log: Log) -> Iterator[tuple[int, list[str]]]:
    """(first line, cells) of every record that is not empty.

    After a record with invalid quoting, reading continues at its second line, so that a missing quote does
    not consume the rest of the file.
    """
    feed = _Feed(lines)
    while True:
        try:
            if delimiter is None:
                delimiter = delimiter_of(feed.peek())
            reader = csv.reader(feed, delimiter=delimiter, strict=True)
            while True:
                feed.taken.clear()
                cells = next(reader)
                if any(cells):
                    yield feed.taken[0].number, cells
        except StopIteration:
            return
        except csv.Error as error:
            log.problem(feed.taken[0].number, f"not a record of delimited cells ({error})", "skipped")
            feed.push_back()


class _Feed:
    """Gives lines to the csv module, and keeps those of the current record to read them again."""

    def __init__(self, lines: Iterable[Line]) -> None:
        self._lines = iter(lines)
        self._waiting: deque[Line] = deque()
        self.taken: list[Line] = []

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        if len(self.taken) >= LONGEST_RECORD:
            raise csv.Error(f"a quote stays open over {LONGEST_RECORD} lines")
        line = self._waiting.popleft() if self._waiting else next(self._lines)
        self.taken.append(line)
        return line.text

    def peek(self) -> str:
        """The first line that is not blank, without consuming it.

        Raises:
            InputError: when there is none.
        """
        for line in self._lines:
            if line.text.strip():
                self._waiting.append(line)
                return line.text
        raise InputError("the file has no header line")

    def push_back(self) -> None:
        """Return all lines of the current record but the first, to be read again."""
        self._waiting.extendleft(reversed(self.taken[1:]))
        self.taken.clear()
