"""Writing labelled turns, one record at a time."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePath
from typing import BinaryIO

from erc.errors import InputError
from erc.files import opened_for_writing
from erc.transcripts.formats import FORMATS, output_formats
from erc.transcripts.types import RecordWriter

Target = Path | str | BinaryIO
"""A path, `-` for standard output, or a binary stream."""


def output_format(target: Target, format: str | None = None) -> str:
    """The name of the format to write: `format`, else by the suffix of `target`.

    Standard output and streams get JSON Lines.

    Raises:
        InputError: for a format or a suffix that cannot be written.
    """
    formats = output_formats()
    if format is not None:
        if format not in (entry.name for entry in formats):
            names = ", ".join(entry.name for entry in formats)
            raise InputError(f"no output format {format!r}; the formats are {names}")
        return format
    if not isinstance(target, Path | str) or str(target) == "-":
        return "jsonl"
    suffix = PurePath(target).suffix.lower()
    for entry in formats:
        if suffix in entry.output_suffixes:
            return entry.name
    known = ", ".join(suffix for entry in formats for suffix in entry.output_suffixes)
    raise InputError(f"the suffix {suffix!r} does not name an output format: use one of {known}", path=target)


@contextmanager
def open_writer(target: Target, format: str | None = None) -> Iterator[RecordWriter]:
    """A writer of records into `target`; `format` as in `output_format`.

    A file is written completely or not at all: the old file is replaced when the block ends without an
    exception (see `erc.files`). Standard output and streams receive each record immediately.

    Raises:
        InputError: as `output_format`; when the file cannot be written.
    """
    factory = FORMATS[output_format(target, format)].writer
    assert factory is not None  # `output_format` gives formats with a writer
    with opened_for_writing(target) as stream:
        writer = factory(stream)
        try:
            yield writer
            writer.finish()
        except BaseException:
            writer.discard()
            raise
