"""Signs of a format that the sniffers of several formats look for."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Literal

from erc.transcripts.readers.speaker_names import split_name
from erc.transcripts.readers.timestamps import take_stamp

TABLE_SUFFIXES = (".csv", ".tsv", ".tab")
"""With such a suffix a file is never sniffed as plain text."""

_WEBVTT = re.compile(r"WEBVTT(?:\s|$)")
_SRT_TIMES = re.compile(r"\s*\d{1,2}:\d{2}:\d{2},\d{1,3}\s*-->", re.ASCII)
_VTT_TIMES = re.compile(r"\s*(?:\d{1,6}:)?\d{1,2}:\d{2}\.\d{1,3}\s*-->", re.ASCII)


def caption_sign(lines: Sequence[str]) -> Literal["header", "comma", "point"] | None:
    """The sign of a caption file: a WEBVTT header, or a comma or point in a cue time; else None."""
    if lines and _WEBVTT.match(lines[0]):
        return "header"
    for line in lines[:3]:
        if _SRT_TIMES.match(line):
            return "comma"
        if _VTT_TIMES.match(line):
            return "point"
    return None


def chat_senders(lines: Sequence[str], suffix: str) -> int:
    """The number of lines that open with a date and a sender.

    It is 0 for a table file, and if fewer than every fifth line opens so.
    """
    if suffix in TABLE_SUFFIXES:
        return 0
    after_date = [found[1] for line in lines if (found := take_stamp(line)) is not None]
    senders = sum(split_name(text, phones=True) is not None for text in after_date)
    return senders if senders * 5 >= len(lines) else 0
