"""Which format a file is in, told from its first bytes and, where they leave it open, from its name."""

from __future__ import annotations

import io
import json
import re
from pathlib import PurePath

from erc.errors import InputError
from erc.transcripts.decoding import decoded_lines, opened
from erc.transcripts.readers.columns import Columns
from erc.transcripts.readers.jsonl import opens_array
from erc.transcripts.readers.speaker_names import Speakers, split_name
from erc.transcripts.readers.table import delimiter_of
from erc.transcripts.readers.timestamps import take_stamp
from erc.transcripts.types import Log, Sniffed

SUFFIXES = {
    ".txt": "text",
    ".md": "text",
    ".csv": "csv",
    ".tsv": "tsv",
    ".tab": "tsv",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".json": "jsonl",
    ".vtt": "vtt",
    ".srt": "srt",
}
_SRT_TIMES = re.compile(r"\s*\d{1,2}:\d{2}:\d{2},\d{1,3}\s*-->", re.ASCII)
_VTT_TIMES = re.compile(r"\s*(?:\d{1,6}:)?\d{1,2}:\d{2}\.\d{1,3}\s*-->", re.ASCII)
_LINES = 200


def sniff(head: bytes, filename: str | None = None) -> Sniffed:
    """The likeliest format of a file that opens with `head` (its first 64 KiB will do).

    Contents outweigh the name: a CSV file called `.txt` is read as CSV. A confidence below 0.5 means that
    only the name, or nothing, speaks for the answer.
    """
    suffix = PurePath(filename).suffix.lower() if filename else ""
    lines = [line for line in _head_lines(head) if line.strip()]
    found = _by_content(lines, suffix)
    if found is not None:
        return found
    if suffix in SUFFIXES:
        return Sniffed(SUFFIXES[suffix], 0.4, f"the name ends in {suffix}")
    return Sniffed("text", 0.1, "nothing speaks for another format")


def _head_lines(head: bytes) -> list[str]:
    with opened(io.BytesIO(head)) as (_, stream):
        lines = [
            line.text for line, _ in zip(decoded_lines(stream, head, Log("")), range(_LINES), strict=False)
        ]
    return [line.lstrip("\ufeff") for line in lines]


def _by_content(lines: list[str], suffix: str) -> Sniffed | None:
    if not lines:
        return None
    if re.match(r"WEBVTT(?:\s|$)", lines[0]):
        return Sniffed("vtt", 1.0, "opens with WEBVTT")
    for line in lines[:3]:
        if _SRT_TIMES.match(line):
            return Sniffed("srt", 0.95, "cue times with a comma (00:00:01,000 -->)")
        if _VTT_TIMES.match(line):
            return Sniffed("vtt", 0.8, "cue times with a point (00:00:01.000 -->)")
    if lines[0].lstrip().startswith("{") and _is_json_object(lines[0], alone=len(lines) == 1):
        return Sniffed("jsonl", 0.95, "the first line is a JSON object")
    if opens_array(lines):
        return Sniffed("jsonl", 0.95, "opens a JSON array of objects")
    is_table = suffix in (".csv", ".tsv", ".tab")
    behind = [found[1] if (found := take_stamp(line)) else None for line in lines]
    if not is_table and (
        senders := sum(text is not None and split_name(text, phones=True) is not None for text in behind)
    ) * 5 >= len(lines):
        return Sniffed(
            "text", 0.9, f"{senders} of the first {len(lines)} lines open with a date and a sender"
        )
    table = _as_table(lines[0], suffix)
    if table is not None:
        return table
    speakers = Speakers(lines)
    share = sum(speakers.match(line) is not None for line in lines) / len(lines)
    if share >= 0.2 and not is_table:
        return Sniffed(
            "text", round(0.5 + share / 2, 2), f"{share:.0%} of the lines open with a speaker (NAME: text)"
        )
    return None


def _is_json_object(line: str, *, alone: bool) -> bool:
    try:
        return isinstance(json.loads(line), dict)
    except (ValueError, RecursionError):
        # A single long record may be cut off at the end of the head.
        return alone and re.match(r'\s*\{\s*"', line) is not None


def _as_table(header: str, suffix: str) -> Sniffed | None:
    delimiter = delimiter_of(header)
    names = [cell.strip().strip('"') for cell in header.split(delimiter)]
    try:
        chosen = Columns(names, {}).chosen
    except InputError:
        return None
    is_table = suffix in (".csv", ".tsv", ".tab")
    if len(names) < 2 and not is_table:
        return None
    kind = "tsv" if delimiter == "\t" else "csv"
    if not is_table and "speaker" not in chosen:
        return Sniffed(kind, 0.6, f"the first line reads like a header ({', '.join(names[:6])})")
    return Sniffed(kind, 0.9, f"a header with {len(names)} columns, the text in {chosen['text']!r}")
