"""Reading a transcript of any format."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePath
from types import MappingProxyType
from typing import BinaryIO

from erc.data import Conversation
from erc.errors import InputError
from erc.transcripts.assembling import comes_back, gather, stream
from erc.transcripts.decoding import decoded_lines, opened, what_it_looks_like
from erc.transcripts.readers.jsonl import read_jsonl
from erc.transcripts.readers.srt import read_srt
from erc.transcripts.readers.table import read_csv, read_tsv
from erc.transcripts.readers.text import read_text
from erc.transcripts.readers.vtt import read_vtt
from erc.transcripts.sniffing import sniff
from erc.transcripts.types import Draft, Log, Problem, Reader, Sniffed, Transcript

READERS: dict[str, Reader] = {
    "text": read_text,
    "csv": read_csv,
    "tsv": read_tsv,
    "jsonl": read_jsonl,
    "vtt": read_vtt,
    "srt": read_srt,
}
"""Format to reader. Add an entry to read another format."""

_WITHOUT_COLUMNS = frozenset(("text", "vtt", "srt"))
_NOTHING: Mapping[str, str] = MappingProxyType({})


def read_transcript(
    source: Path | str | BinaryIO,
    *,
    format: str | None = None,
    mapping: Mapping[str, str] | None = None,
    strict: bool = False,
    name: str | None = None,
) -> Transcript:
    """All conversations of one file, given as a path, or of a binary stream.

    `format` is a key of `READERS`, sniffed when None; `mapping` goes from field
    (`erc.transcripts.readers.columns.FIELDS`) to column; `name` stands for the file in messages and, without its
    suffix, as the conversation id, where `source` is a stream. With `strict` the first problem raises
    InputError; without it lines that cannot be read are skipped and told in `Transcript.problems`. Raises
    InputError too for an empty file, a binary file and a file without a single turn.
    """
    source = Path(source) if isinstance(source, str) else source
    problems: list[Problem] = []
    notes: list[str] = []
    with _drafts(
        source,
        format=format,
        mapping=mapping,
        strict=strict,
        name=name,
        on_problem=problems.append,
        on_note=notes.append,
    ) as reading:
        conversations = tuple(gather(reading.drafts, default_id=reading.default_id, log=reading.log))
        if not conversations:
            raise _nothing(reading)
    return Transcript(conversations, reading.format, tuple(problems), tuple(notes), reading.sniffed)


def iter_conversations(
    source: Path | str | BinaryIO,
    *,
    format: str | None = None,
    mapping: Mapping[str, str] | None = None,
    strict: bool = False,
    name: str | None = None,
    on_problem: Callable[[Problem], None] | None = None,
    on_note: Callable[[str], None] | None = None,
) -> Iterator[Conversation]:
    """As `read_transcript`, one conversation at a time.

    CSV, TSV and JSON Lines are read as they are consumed, so memory holds one conversation, where the turns
    of each stand together. Where they do not, as in an export in order of time, a file is held whole. A
    stream can only be read once: a conversation that comes back later in it is kept apart as `<id>~2` and
    told. The other formats hold one conversation anyway.
    """
    source = Path(source) if isinstance(source, str) else source
    arrange = (
        gather
        if isinstance(source, Path) and _comes_back(source, format=format, mapping=mapping, name=name)
        else stream
    )
    with _drafts(
        source,
        format=format,
        mapping=mapping,
        strict=strict,
        name=name,
        on_problem=on_problem,
        on_note=on_note,
    ) as reading:
        empty = True
        for conversation in arrange(reading.drafts, default_id=reading.default_id, log=reading.log):
            empty = False
            yield conversation
        if empty:
            raise _nothing(reading)


def _comes_back(
    source: Path, *, format: str | None, mapping: Mapping[str, str] | None, name: str | None
) -> bool:
    """Whether a file, which is read for it once more, has conversations whose turns do not stand together; False for a pipe."""
    if not source.is_file():
        return False
    with _drafts(
        source, format=format, mapping=mapping, strict=False, name=name, on_problem=None, on_note=None
    ) as reading:
        return reading.format not in _WITHOUT_COLUMNS and comes_back(
            reading.drafts, default_id=reading.default_id, log=reading.log
        )


@dataclass(frozen=True, slots=True)
class _Reading:
    drafts: Iterator[Draft]
    default_id: str
    format: str
    sniffed: Sniffed | None
    log: Log


@contextmanager
def _drafts(
    source: Path | BinaryIO,
    *,
    format: str | None,
    mapping: Mapping[str, str] | None,
    strict: bool,
    name: str | None,
    on_problem: Callable[[Problem], None] | None,
    on_note: Callable[[str], None] | None,
) -> Iterator[_Reading]:
    if format is not None and format not in READERS:
        raise InputError(f"there is no format {format!r} to read; the formats are {', '.join(READERS)}")
    place = str(source) if isinstance(source, Path) else name or "<stream>"
    log = Log(place, strict=strict, on_problem=on_problem, on_note=on_note)
    with opened(source) as (head, binary):
        if not head:
            raise InputError("the file is empty: there is no turn to read", path=place)
        if (kind := what_it_looks_like(head)) is not None:
            raise InputError(f"this is no text but looks like {kind}", path=place)
        filename = name or (source.name if isinstance(source, Path) else None)
        sniffed = sniff(head, filename) if format is None else None
        chosen = format or (sniffed.format if sniffed else "text")
        if mapping and chosen in _WITHOUT_COLUMNS:
            raise InputError(
                f"--map is for files with columns, and this is read as {chosen} (name another format with --format)",
                path=place,
            )
        drafts = READERS[chosen](decoded_lines(binary, head, log), mapping=mapping or _NOTHING, log=log)
        default_id = PurePath(filename).stem if filename else ""
        yield _Reading(drafts, default_id or "transcript", chosen, sniffed, log)


def _nothing(reading: _Reading) -> InputError:
    log = reading.log
    why = {
        "text": "no line has the form 'NAME: text'",
        "vtt": "no cue has a text",
        "srt": "no cue has a text",
    }.get(reading.format, "no record has a text")
    if log.first is not None:
        why = f"{log.problems} problem(s), the first is: {log.first}"
    guess = (
        ""
        if reading.sniffed is None
        else f" (the format was guessed: {reading.sniffed.reason}; name it with --format)"
    )
    return InputError(f"no turn could be read as {reading.format}: {why}{guess}", path=log.path)
