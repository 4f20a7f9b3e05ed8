"""The table of transcript formats, from which sniffing, reading, writing and help texts derive.

To add a format, write a reader (`Reader`), a writer (`RecordWriter`) or both in a module of its own, and add
one `Format` to `FORMATS`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import BinaryIO

from erc.transcripts.readers.jsonl import read_jsonl, sniff_jsonl
from erc.transcripts.readers.srt import read_srt, sniff_srt
from erc.transcripts.readers.table import read_csv, read_tsv, sniff_csv, sniff_tsv
from erc.transcripts.readers.text import read_text, sniff_text
from erc.transcripts.readers.vtt import read_vtt, sniff_vtt
from erc.transcripts.types import Reader, RecordWriter
from erc.transcripts.writers.csv_jsonl import CsvWriter, JsonlWriter
from erc.transcripts.writers.parquet import ParquetWriter
from erc.transcripts.writers.vtt import VttWriter


@dataclass(frozen=True, slots=True, kw_only=True)
class Format:
    """One transcript format. A format without a `reader` is only written, one without a `writer` only read.

    Attributes:
        name: The word that `--format` and `Transcript.format` use.
        help: A few words for help texts, such as `SubRip captions`.
        suffixes: File suffixes of input, in lower case with the dot.
        output_suffixes: File suffixes of output. Each suffix belongs to one format only.
        reader: Turns lines into drafts.
        sniff: Gets the first lines of a file, without blank ones, and its suffix (`""` if unknown). Returns a
            confidence in [0, 1] and the reason in words, or None for another format.
        has_columns: Whether a column mapping (`--map`) applies.
        no_turn: Why a file gave no turn, in words for the error message.
        writer: Makes a writer of records for a binary stream.
        needs_times: Whether every written record needs a start time.
    """

    name: str
    help: str
    suffixes: tuple[str, ...] = ()
    output_suffixes: tuple[str, ...] = ()
    reader: Reader | None = None
    sniff: Callable[[Sequence[str], str], tuple[float, str] | None] | None = None
    has_columns: bool = False
    no_turn: str = "no record has a text"
    writer: Callable[[BinaryIO], RecordWriter] | None = None
    needs_times: bool = False


_BUILT_IN = (
    Format(
        name="text",
        help="plain text (NAME: text)",
        suffixes=(".txt", ".md"),
        reader=read_text,
        sniff=sniff_text,
        no_turn="no line has the form 'NAME: text'",
    ),
    Format(
        name="csv",
        help="CSV",
        suffixes=(".csv",),
        output_suffixes=(".csv",),
        reader=read_csv,
        sniff=sniff_csv,
        has_columns=True,
        writer=CsvWriter,
    ),
    Format(
        name="tsv", help="TSV", suffixes=(".tsv", ".tab"), reader=read_tsv, sniff=sniff_tsv, has_columns=True
    ),
    Format(
        name="jsonl",
        help="JSON Lines or a JSON array",
        suffixes=(".jsonl", ".ndjson", ".json"),
        output_suffixes=(".jsonl", ".ndjson"),
        reader=read_jsonl,
        sniff=sniff_jsonl,
        has_columns=True,
        writer=JsonlWriter,
    ),
    Format(
        name="vtt",
        help="WebVTT",
        suffixes=(".vtt",),
        output_suffixes=(".vtt",),
        reader=read_vtt,
        sniff=sniff_vtt,
        no_turn="no cue has a text",
        writer=VttWriter,
        needs_times=True,
    ),
    Format(
        name="srt",
        help="SubRip (SRT)",
        suffixes=(".srt",),
        reader=read_srt,
        sniff=sniff_srt,
        no_turn="no cue has a text",
    ),
    Format(name="parquet", help="Parquet", output_suffixes=(".parquet",), writer=ParquetWriter),
)

FORMATS: dict[str, Format] = {entry.name: entry for entry in _BUILT_IN}
"""Formats by name. Sniffing tries them from the last to the first, so the most general format comes first."""


def input_formats() -> tuple[Format, ...]:
    """The formats that can be read."""
    return tuple(entry for entry in FORMATS.values() if entry.reader is not None)


def output_formats() -> tuple[Format, ...]:
    """The formats that can be written."""
    return tuple(entry for entry in FORMATS.values() if entry.writer is not None)


def one_of(words: Iterable[str]) -> str:
    """The words as a choice: `csv, tsv or srt`."""
    *rest, last = words
    return f"{', '.join(rest)} or {last}" if rest else last


def format_help() -> str:
    """The choices of `--format`."""
    return one_of(entry.name for entry in input_formats())


def input_help() -> str:
    """The input formats in words."""
    return one_of(entry.help for entry in input_formats())


def output_help() -> str:
    """The suffixes that `-o` knows."""
    return one_of(suffix for entry in output_formats() for suffix in entry.output_suffixes)
