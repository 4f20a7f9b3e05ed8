"""Writing labelled turns, one record at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path, PurePath
from typing import Any, BinaryIO, Protocol

from erc.errors import InputError
from erc.files import opened_for_writing
from erc.transcripts.writers.csv_jsonl import CsvWriter, JsonlWriter
from erc.transcripts.writers.parquet import ParquetWriter
from erc.transcripts.writers.vtt import VttWriter

Target = Path | str | BinaryIO
"""A path, `-` for standard output, or a binary stream."""


class RecordWriter(Protocol):
    """Takes records in the order they are to stand in; `finish` is called once, after the last, or `discard` after a failure."""

    def write(self, record: Mapping[str, Any]) -> None:
        """Write one record. Raises InputError for a record that the format cannot hold."""
        ...

    def finish(self) -> None:
        """Write what was held back."""
        ...

    def discard(self) -> None:
        """Write nothing more and let go of everything."""
        ...


WRITERS: dict[str, Callable[[BinaryIO], RecordWriter]] = {
    "jsonl": JsonlWriter,
    "csv": CsvWriter,
    "parquet": ParquetWriter,
    "vtt": VttWriter,
}
"""Format to writer. Add an entry to write another format."""

_SUFFIXES = {".jsonl": "jsonl", ".ndjson": "jsonl", ".csv": "csv", ".parquet": "parquet", ".vtt": "vtt"}


def output_format(target: Target, format: str | None = None) -> str:
    """`format` if it can be written, else the one the suffix of `target` says; JSON Lines for standard output and streams.

    Raises InputError for a format or a suffix that cannot be written.
    """
    if format is not None:
        if format not in WRITERS:
            raise InputError(f"there is no format {format!r} to write; the formats are {', '.join(WRITERS)}")
        return format
    if not isinstance(target, Path | str) or str(target) == "-":
        return "jsonl"
    suffix = PurePath(target).suffix.lower()
    if suffix not in _SUFFIXES:
        raise InputError(
            f"the suffix {suffix!r} says nothing about the format: use one of {', '.join(_SUFFIXES)}",
            path=target,
        )
    return _SUFFIXES[suffix]


@contextmanager
def open_writer(target: Target, format: str | None = None) -> Iterator[RecordWriter]:
    """A writer of records into `target`.

    A file is complete or untouched: it replaces the old one when the block ends well, and on an exception the
    old one stands (`erc.files`). Standard output and streams get every record as it comes.
    """
    factory = WRITERS[output_format(target, format)]
    with opened_for_writing(target) as stream:
        writer = factory(stream)
        try:
            yield writer
            writer.finish()
        except BaseException:
            writer.discard()
            raise


def write_jsonl(records: Iterable[Mapping[str, Any]], target: Target) -> int:
    """Write `records` as JSON Lines; how many there were."""
    return _write(records, target, "jsonl")


def write_csv(records: Iterable[Mapping[str, Any]], target: Target) -> int:
    """Write `records` as CSV that no spreadsheet takes for formulas; how many there were."""
    return _write(records, target, "csv")


def write_parquet(records: Iterable[Mapping[str, Any]], target: Target) -> int:
    """Write `records` as Parquet with one fixed schema; how many there were."""
    return _write(records, target, "parquet")


def write_vtt(records: Iterable[Mapping[str, Any]], target: Target) -> int:
    """Write `records`, which need times, as WebVTT; how many there were."""
    return _write(records, target, "vtt")


def _write(records: Iterable[Mapping[str, Any]], target: Target, format: str) -> int:
    count = 0
    with open_writer(target, format) as writer:
        for record in records:
            writer.write(record)
            count += 1
    return count
