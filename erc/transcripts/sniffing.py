"""Detects the format of a file from its first bytes, or from its name if they are ambiguous."""

from __future__ import annotations

import io
import itertools
from pathlib import PurePath

from erc.transcripts.decoding import decoded_lines, opened
from erc.transcripts.formats import FORMATS, input_formats
from erc.transcripts.types import Log, Sniffed

_LINES = 200


def sniff(head: bytes, filename: str | None = None) -> Sniffed:
    """The most likely format of a file that starts with `head` (64 KiB are enough).

    The content takes precedence over the name: a CSV file called `.txt` is read as CSV. A confidence below
    0.5 means that the content is ambiguous.
    """
    suffix = PurePath(filename).suffix.lower() if filename else ""
    lines = _head_lines(head)
    for entry in reversed(FORMATS.values()):
        if lines and entry.sniff is not None and (found := entry.sniff(lines, suffix)) is not None:
            return Sniffed(entry.name, *found)
    for entry in input_formats():
        if suffix in entry.suffixes:
            return Sniffed(entry.name, 0.4, f"the name ends in {suffix}")
    return Sniffed("text", 0.1, "no sign of another format")


def _head_lines(head: bytes) -> list[str]:
    """The first lines without byte-order marks and blank lines."""
    with opened(io.BytesIO(head)) as (_, stream):
        lines = list(itertools.islice(decoded_lines(stream, head, Log("")), _LINES))
    texts = (line.text.lstrip("\ufeff") for line in lines)
    return [text for text in texts if text.strip()]
