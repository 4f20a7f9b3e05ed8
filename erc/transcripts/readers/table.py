"""CSV and TSV: a header line, then one turn per record."""

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
"""Lines one quoted cell may run over; beyond it the quote is taken for a forgotten one."""

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
    """Comma, semicolon, tab or bar as delimiter: whichever cuts the header into the most cells."""
    return _read(lines, None, mapping, log)


def read_tsv(lines: Iterable[Line], *, mapping: Mapping[str, str], log: Log) -> Iterator[Draft]:
    """As `read_csv` with tabs."""
    return _read(lines, "\t", mapping, log)


def delimiter_of(header: str) -> str:
    """The delimiter that cuts `header` into the most cells, the comma where none does."""
    header = header[:_LONGEST_HEADER].rstrip("\r\n")
    return max(",;\t|", key=lambda mark: len(next(csv.reader([header], delimiter=mark), [])))


def _read(
    lines: Iterable[Line], delimiter: str | None, mapping: Mapping[str, str], log: Log
) -> Iterator[Draft]:
    check_mapping(mapping)
    # The module's ceiling of 131,072 characters is one for the whole process; it is only ever raised.
    if csv.field_size_limit() < _LONGEST_CELL:
        csv.field_size_limit(_LONGEST_CELL)
    records = _records(lines, delimiter, log)
    header_line, header = next(records, (1, []))
    names = unique_column_names([name.strip().lstrip("\ufeff") for name in header], log)
    columns = Columns(names, mapping, path=log.path, line=header_line)
    log.note(columns.told())
    rows = Rows(log)
    for line, cells in records:
        if len(cells) > len(names) and any(cells[len(names) :]):
            log.problem(
                line,
                f"{len(cells)} cells under a header of {len(names)} (a text with the delimiter in it needs quotes)",
                "skipped",
            )
            continue
        row = dict(zip(names, restored(cells) if columns.own else cells, strict=False))
        row.setdefault(columns.chosen["text"], "")
        if (draft := rows.draft(columns, row, line)) is not None:
            yield draft
    rows.finish()


def restored(cells: Sequence[str]) -> list[str]:
    """Cells without the apostrophes our own writer put before would-be formulas; other files keep theirs."""
    return [restore(cell) for cell in cells]


def unique_column_names(names: Sequence[str], log: Log) -> list[str]:
    """The names of the columns, a later one of the same name as `text (2)`; the log says so."""
    apart: list[str] = []
    for name in names:
        called = name
        if name in apart and name:
            called = next(other for copy in itertools.count(2) if (other := f"{name} ({copy})") not in apart)
            log.note(
                f"the column {name!r} stands more than once: the first has this name, another is called {called!r} here"
            )
        apart.append(called)
    return apart


def _records(lines: Iterable[Line], delimiter: str | None, log: Log) -> Iterator[tuple[int, list[str]]]:
    """(line of its beginning, cells) of every record that is not empty.

    A record that breaks the rules of quoting costs its first line only: reading goes on with the line after
    it, so a forgotten quote does not swallow the rest of the file.
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
    """Hands lines to the csv module, remembers those of the record under way and can take them back."""

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
        """The first line that is not blank, which stays to be read. Raises InputError when there is none."""
        for line in self._lines:
            if line.text.strip():
                self._waiting.append(line)
                return line.text
        raise InputError("holds no header line")

    def push_back(self) -> None:
        """Everything taken but its first line is to be read again."""
        self._waiting.extendleft(reversed(self.taken[1:]))
        self.taken.clear()
