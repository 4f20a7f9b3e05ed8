"""Decodes bytes to lines: encodings, byte-order marks, and detection of binary files."""

from __future__ import annotations

import codecs
import io
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, cast

from erc.errors import InputError
from erc.transcripts.types import Line, Log

HEAD_BYTES = 64 * 1024
"""Bytes at the start of a file from which its format and encoding are detected."""

# Longest mark first: the UTF-32 little-endian mark begins with the UTF-16 one.
_MARKS = (
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_MAGIC = (
    (
        b"PK\x03\x04",
        "a ZIP archive (also Word, Excel and OpenDocument: save as plain text or CSV)",
    ),
    (b"%PDF-", "a PDF document: export its text first"),
    (b"\xd0\xcf\x11\xe0", "an old Word or Excel file: save it as plain text or CSV"),
    (b"{\\rtf", "a rich text document: save it as plain text"),
    (b"SQLite format 3\x00", "an SQLite database"),
    (b"PAR1", "a Parquet file: write it as CSV or JSON Lines first"),
    (b"\x1f\x8b", "a gzip archive: unpack it first"),
    (b"BZh", "a bzip2 archive: unpack it first"),
    (b"\xfd7zXZ\x00", "an xz archive: unpack it first"),
    (b"7z\xbc\xaf\x27\x1c", "a 7-Zip archive: unpack it first"),
    (b"\x89PNG", "a PNG picture"),
    (b"\xff\xd8\xff", "a JPEG picture"),
    (b"GIF8", "a GIF picture"),
    (b"RIFF", "a WAV or AVI recording: transcribe it first"),
    (b"OggS", "an Ogg recording: transcribe it first"),
    (b"fLaC", "a FLAC recording: transcribe it first"),
    (b"ID3", "an MP3 recording: transcribe it first"),
    (b"\x1aE\xdf\xa3", "a Matroska or WebM recording: transcribe it first"),
    (b"\x7fELF", "a program"),
)
_CONTROL = bytes(set(range(32)) - set(b"\t\n\r\x0b\x0c\x1b"))
_NOT_TEXT = re.compile("[\ud800-\udfff\x00]")


def what_it_looks_like(head: bytes) -> str | None:
    """The kind of binary file that starts with `head`, in words; None for text.

    Without a known signature, a head is binary if more than a tenth of it are control characters.
    """
    if head.startswith(tuple(mark for mark, _ in _MARKS)) or _utf16_without_mark(head):
        return None
    for magic, words in _MAGIC:
        # A text may start with `RIFF`, so a signature of letters needs unprintable bytes after it.
        if head.startswith(magic) and (
            not magic.isalnum() or any(byte < 9 or byte > 126 for byte in head[len(magic) : 32])
        ):
            return words
    if head[4:8] == b"ftyp":
        return "an MP4 or M4A recording: transcribe it first"
    controls = len(head) - len(head.translate(None, delete=_CONTROL))
    return "binary data" if controls * 10 > len(head) and controls > 1 else None


def scrub(text: str) -> tuple[str, int]:
    """`text` that UTF-8 can encode, and the number of characters replaced by U+FFFD.

    Joins the halves of a surrogate pair. Replaces lone surrogates and NUL, which databases and encoders
    refuse.
    """
    if not _NOT_TEXT.search(text):
        return text, 0
    joined = text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "surrogatepass")
    return _NOT_TEXT.subn("\ufffd", joined)


@contextmanager
def opened(source: Path | BinaryIO) -> Iterator[tuple[bytes, BinaryIO]]:
    """Yield the first `HEAD_BYTES` of `source` and a stream over all of it. A caller's stream stays open.

    Raises:
        InputError: when a path cannot be opened or read.
    """
    if not isinstance(source, Path):
        yield _with_head(source)
        return
    try:
        with source.open("rb") as stream:
            yield _with_head(stream)
    except IsADirectoryError as error:
        raise InputError("this is a folder: name the files in it", path=source) from error
    except OSError as error:
        raise InputError(f"cannot be read: {error.strerror or error}", path=source) from error


def decoded_lines(stream: BinaryIO, head: bytes, log: Log) -> Iterator[Line]:
    r"""The lines of `stream` with their endings; `\n`, `\r\n` and a lone `\r` end a line.

    A byte-order mark decides the encoding. Without one, each line is decoded as UTF-8, else as Windows-1252,
    so a damaged line does not affect the others.
    """
    for mark, encoding in _MARKS:
        if head.startswith(mark):
            if encoding == "utf-8":
                stream.read(len(mark))
                break
            yield from _wide_lines(stream, encoding, log)
            return
    else:
        wide = _utf16_without_mark(head)
        if wide:
            log.note(f"no byte-order mark; read as {wide.upper()} because of its zero bytes")
            yield from _wide_lines(stream, wide, log)
            return
    yield from _narrow_lines(stream, log)


def _narrow_lines(stream: BinaryIO, log: Log) -> Iterator[Line]:
    number, foreign, first = 0, 0, 0
    for raw in stream:
        for piece in raw.splitlines(keepends=True):
            number += 1
            try:
                text = piece.decode("utf-8")
            except UnicodeDecodeError:
                text, is_foreign = _decode_damaged(piece)
                foreign += is_foreign
                first = first or (number if is_foreign else 0)
            yield Line(number, text)
    if foreign:
        log.note(
            f"{foreign} line(s) are not UTF-8 and were read as Windows-1252, the first is line {first}; "
            "save as UTF-8 if letters look wrong"
        )


def _decode_damaged(piece: bytes) -> tuple[str, bool]:
    # Some exporters encode each surrogate as three bytes. `scrub` joins or replaces them later.
    try:
        return piece.decode("utf-8", "surrogatepass"), False
    except UnicodeDecodeError:
        return piece.decode("cp1252", "replace"), True


def _wide_lines(stream: BinaryIO, encoding: str, log: Log) -> Iterator[Line]:
    for number, text in enumerate(
        io.TextIOWrapper(stream, encoding=encoding, errors="replace", newline=""), start=1
    ):
        if "\ufffd" in text:
            log.problem(number, f"characters that are not valid {encoding.upper()} became U+FFFD")
        yield Line(number, text)


def _utf16_without_mark(head: bytes) -> str | None:
    """UTF-16 in which every second byte is nearly always zero, as in text of mostly Western letters."""
    pairs = len(head) // 2
    if pairs < 2:
        return None
    even, odd = head[0 : 2 * pairs : 2].count(0), head[1 : 2 * pairs : 2].count(0)
    if odd > 0.6 * pairs and even == 0:
        return "utf-16-le"
    return "utf-16-be" if even > 0.6 * pairs and odd == 0 else None


def _with_head(stream: BinaryIO) -> tuple[bytes, BinaryIO]:
    parts, missing = [], HEAD_BYTES
    while missing and (part := stream.read(missing)):  # a pipe may return fewer bytes than requested
        parts.append(part)
        missing -= len(part)
    head = b"".join(parts)
    return head, cast(BinaryIO, io.BufferedReader(_Rejoined(head, stream)))


class _Rejoined(io.RawIOBase):
    """The head that was already read, then the rest of the stream, which is not closed."""

    def __init__(self, head: bytes, rest: BinaryIO) -> None:
        self._head = memoryview(head)
        self._rest = rest

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: bytearray) -> int:  # type: ignore[override]
        chunk = self._head[: len(buffer)] if self._head else self._rest.read(len(buffer))
        self._head = self._head[len(chunk) :]
        buffer[: len(chunk)] = chunk
        return len(chunk)
