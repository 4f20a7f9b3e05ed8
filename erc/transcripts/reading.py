"""Reads a transcript of any format."""

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
from erc.transcripts.formats import FORMATS, input_formats
from erc.transcripts.sniffing import sniff
from erc.transcripts.types import Draft, Log, Problem, Sniffed, Transcript

_NOTHING: Mapping[str, str] = MappingProxyType({})


def read_transcript(
    source: Path | str | BinaryIO,
    *,
    format: str | None = None,
    mapping: Mapping[str, str] | None = None,
    strict: bool = False,
    name: str | None = None,
) -> Transcript:
    """Read all conversations of a file or a binary stream.

    Args:
        source: A path, or a binary stream, which stays open.
        format: The name of an input format; None detects it.
        mapping: Field (`erc.transcripts.readers.columns.FIELDS`) to column, for formats with columns.
        strict: Raise InputError at the first problem. Otherwise such lines are skipped and reported in
            `Transcript.problems`.
        name: The name of a stream, for messages and, without its suffix, as the conversation id.

    Raises:
        InputError: for an unknown format or column, a file that cannot be opened, an empty or binary file, a
            file without a single turn, and with `strict` for the first problem.
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
    """As `read_transcript`, one conversation at a time; problems and notes go to the callbacks.

    CSV, TSV and JSON Lines are read lazily and hold one conversation in memory. If the turns of a
    conversation are not consecutive in a file, the whole file is held. In a stream, which can be read only
    once, later turns of an earlier conversation become a new conversation `<id>~2`, with a problem.

    Raises:
        InputError: as `read_transcript`, while iterating.
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
    """Whether some conversation of a file has turns that are not consecutive; False for a pipe."""
    if not source.is_file():
        return False
    with _drafts(
        source, format=format, mapping=mapping, strict=False, name=name, on_problem=None, on_note=None
    ) as reading:
        return FORMATS[reading.format].has_columns and comes_back(
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
    names = [entry.name for entry in input_formats()]
    if format is not None and format not in names:
        raise InputError(f"no input format {format!r}; the formats are {', '.join(names)}")
    place = str(source) if isinstance(source, Path) else name or "<stream>"
    log = Log(place, strict=strict, on_problem=on_problem, on_note=on_note)
    with opened(source) as (head, binary):
        if not head:
            raise InputError("the file is empty", path=place)
        if (kind := what_it_looks_like(head)) is not None:
            raise InputError(f"not text, but {kind}", path=place)
        filename = name or (source.name if isinstance(source, Path) else None)
        sniffed = sniff(head, filename) if format is None else None
        chosen = format or (sniffed.format if sniffed else "text")
        reader = FORMATS[chosen].reader
        assert reader is not None  # `sniff` and the check above give formats with a reader
        if mapping and not FORMATS[chosen].has_columns:
            raise InputError(
                f"--map needs columns, and this is read as {chosen} (--format names another format)",
                path=place,
            )
        drafts = reader(decoded_lines(binary, head, log), mapping=mapping or _NOTHING, log=log)
        default_id = PurePath(filename).stem if filename else ""
        yield _Reading(drafts, default_id or "transcript", chosen, sniffed, log)


def _nothing(reading: _Reading) -> InputError:
    log = reading.log
    why = FORMATS[reading.format].no_turn
    if log.first is not None:
        why = f"{log.problems} problem(s), the first is: {log.first}"
    guess = (
        ""
        if reading.sniffed is None
        else f" (the format was guessed: {reading.sniffed.reason}; name it with --format)"
    )
    return InputError(f"no turn could be read as {reading.format}: {why}{guess}", path=log.path)
