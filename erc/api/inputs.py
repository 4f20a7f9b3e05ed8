"""Reads every input that `label` accepts as conversations.

Files and texts go through the transcript readers; pairs, records and data frames through the same assembly
of turns, so the same words give the same conversations in every form.
"""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from erc.data import Conversation
from erc.errors import InputError
from erc.transcripts import Draft, Log, Problem, UniqueIds, read_transcript
from erc.transcripts.assembling import gather
from erc.transcripts.readers.columns import Columns, Rows
from erc.transcripts.readers.speaker_names import split_name

if TYPE_CHECKING:
    import pandas

_ID = "conversation"
"""Id of a conversation that comes without a file name and without a column for it."""

Labelable: TypeAlias = (
    "str | os.PathLike[str] | Conversation | pandas.DataFrame | Iterable[str | os.PathLike[str]] | "
    "Iterable[Conversation] | Iterable[tuple[str, str]] | Iterable[Mapping[str, Any]]"
)
"""A path, a text, several paths, (speaker, text) pairs, records, a data frame, or conversations."""


@dataclass(slots=True)
class ReadInput:
    """Conversations, and the problems found in their input.

    Attributes:
        conversations: In input order.
        problems: Lines, rows or files that were skipped or repaired.
        notes: Choices the reader made, such as which column holds the text.
    """

    conversations: list[Conversation] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadOptions:
    """How input is read.

    Attributes:
        format: Transcript format of files and texts; None detects it.
        columns: Field to column, as `{"text": "message"}`; None finds the columns by their names.
        strict: Raise at the first problem instead of skipping the line.
        conversation_id: Id of a conversation given as text, pairs, records or data frame without one.
        unique: Give conversations of several files different ids.
    """

    format: str | None = None
    columns: Mapping[str, str] | None = None
    strict: bool = False
    conversation_id: str | None = None
    unique: bool = True


def read_input(data: Labelable, options: ReadOptions) -> ReadInput:
    """Reads `data` as conversations.

    A string that is the path of an existing file is a path. A string with a line break, or one that starts
    with `NAME: `, is a text. Strings in a list are always paths.

    Raises:
        InputError: When `data` is none of these, a file cannot be read, no turn is found, or a line is
            broken and `options.strict` is set.
    """
    if isinstance(data, Conversation):
        return _conversations([data], options)
    if isinstance(data, os.PathLike) or (isinstance(data, str) and _is_file(data)):
        return _files([Path(data)], options)
    if isinstance(data, str):
        return _text(data, options)
    if _is_frame(data):
        return _records(data.columns, _frame_records(data), "the data frame", options)  # type: ignore[union-attr]
    if isinstance(data, Mapping) or not isinstance(data, Iterable):
        raise InputError(f"{type(data).__name__} cannot be labelled: {_ACCEPTED}")
    items = list(data)
    if not items:
        raise InputError("the list is empty: there is no turn to label")
    return _list(items, options)


_ACCEPTED = (
    "pass a path, several paths, a text, a list of (speaker, text) pairs, a list of records, "
    "a pandas DataFrame, or erc.Conversation objects"
)


def _list(items: Sequence[Any], options: ReadOptions) -> ReadInput:
    first = items[0]
    if isinstance(first, Conversation):
        return _conversations(items, options)
    if isinstance(first, str | os.PathLike):
        return _files([_existing(item) for item in items], options)
    if isinstance(first, Mapping):
        names = dict.fromkeys(str(name) for item in items if isinstance(item, Mapping) for name in item)
        return _records(names, items, "the list", options)
    if isinstance(first, tuple | list):
        return _pairs(items, options)
    raise InputError(f"a list of {type(first).__name__} cannot be labelled: {_ACCEPTED}")


def _conversations(items: Sequence[Any], options: ReadOptions) -> ReadInput:
    for item in items:
        if not isinstance(item, Conversation):
            raise InputError(f"{type(item).__name__} in a list of conversations: pass erc.Conversation alone")
    _refuse_reading(options, "conversations are complete", format=True, columns=True, conversation_id=True)
    return ReadInput(conversations=list(items))


def _is_file(text: str) -> bool:
    try:
        return Path(text).is_file()
    except (OSError, ValueError):  # too long for a path, or with a NUL
        return False


def _existing(item: object) -> Path:
    if isinstance(item, os.PathLike):
        return Path(item)
    if not isinstance(item, str):
        raise InputError(f"{type(item).__name__} in a list of paths: {_ACCEPTED}")
    if not _is_file(item):
        raise InputError(
            f"{_quoted(item)} is not the path of an existing file, and strings in a list are paths: pass one "
            "conversation as a list of (speaker, text) pairs, or as one text with line breaks"
        )
    return Path(item)


def _files(paths: Sequence[Path], options: ReadOptions) -> ReadInput:
    """All conversations of several files. Unreadable files are problems, or an error if all are."""
    _refuse_reading(options, "a file names its conversations itself", conversation_id=True)
    found = ReadInput()
    ids = UniqueIds([str(path) for path in paths])
    failures: list[InputError] = []
    for place, path in enumerate(paths):
        try:
            with _python_hint():
                transcript = read_transcript(
                    path, format=options.format, mapping=options.columns, strict=options.strict
                )
        except InputError as error:
            if options.strict or len(paths) == 1:
                raise
            failures.append(error)
            found.problems.append(Problem(str(path), None, str(error).removeprefix(f"{path}: ")))
            continue
        found.problems += transcript.problems
        found.notes += transcript.notes
        if not options.unique:
            found.conversations += transcript.conversations
            continue
        for conversation, note in ids.among(transcript.conversations, place):
            found.notes += [] if note is None else [note]
            found.conversations.append(conversation)
    if len(failures) == len(paths):
        raise failures[0]
    return found


def _text(text: str, options: ReadOptions) -> ReadInput:
    if "\n" not in text and "\r" not in text and split_name(text) is None:
        raise InputError(
            f"{_quoted(text)} is neither the path of an existing file nor a text with a line break or a "
            "speaker (NAME: text): check the path, or pass [(speaker, text)] for a single turn"
        )
    raw = io.BytesIO(text.encode("utf-8", "surrogatepass"))
    with _python_hint():
        transcript = read_transcript(
            raw,
            format=options.format,
            mapping=options.columns,
            strict=options.strict,
            name=options.conversation_id or _ID,
        )
    return ReadInput(list(transcript.conversations), list(transcript.problems), list(transcript.notes))


def _pairs(items: Sequence[Any], options: ReadOptions) -> ReadInput:
    _refuse_reading(options, "pairs have no format and no columns", format=True, columns=True)

    def drafts(log: Log) -> Iterator[Draft]:
        for number, item in enumerate(items, start=1):
            if (
                isinstance(item, tuple | list)
                and len(item) == 2
                and all(isinstance(part, str) for part in item)
            ):
                yield Draft(line=number, text=item[1], speakers=(item[0],))
            else:
                log.problem(number, f"{_quoted(repr(item))} is not a (speaker, text) pair", "skipped")

    return _assembled(drafts, "the list", options)


def _records(names: Iterable[str], rows: Iterable[Any], place: str, options: ReadOptions) -> ReadInput:
    _refuse_reading(options, "records have columns but no format", format=True)

    def drafts(log: Log) -> Iterator[Draft]:
        with _python_hint():
            columns = Columns([str(name) for name in names], options.columns or {}, path=place)
        log.note(f"columns: {', '.join(f'{field}={name}' for field, name in columns.chosen.items())}")
        made = Rows(log)
        for number, row in enumerate(rows, start=1):
            if not isinstance(row, Mapping):
                log.problem(number, f"{_quoted(repr(row))} is not a record", "skipped")
            elif (draft := made.draft(columns, row, number)) is not None:
                yield draft
        made.finish()

    return _assembled(drafts, place, options)


def _assembled(drafts: Any, place: str, options: ReadOptions) -> ReadInput:
    found = ReadInput()
    log = Log(place, strict=options.strict, on_problem=found.problems.append, on_note=found.notes.append)
    found.conversations += gather(drafts(log), default_id=options.conversation_id or _ID, log=log)
    if not found.conversations:
        first = "" if log.first is None else f"; the first problem is: {log.first}"
        raise InputError(f"no turn could be read{first}", path=place)
    return found


def _is_frame(data: object) -> bool:
    pandas = sys.modules.get("pandas")  # a caller with a DataFrame has imported pandas
    return pandas is not None and isinstance(data, pandas.DataFrame)


def _frame_records(frame: Any) -> Iterator[dict[str, Any]]:
    """The rows as plain Python values: missing cells as None, timestamps in ISO 8601."""
    names = [str(name) for name in frame.columns]
    cells = frame.astype(object).where(frame.notna(), None)
    for row in cells.itertuples(index=False, name=None):
        yield {
            name: value.isoformat() if hasattr(value, "isoformat") else value
            for name, value in zip(names, row, strict=True)
        }


def _refuse_reading(options: ReadOptions, why: str, **refused: bool) -> None:
    """Raises InputError for an option that would have no effect on this kind of input."""
    for name in refused:
        if getattr(options, name) is not None:
            raise InputError(f"{name}={getattr(options, name)!r} has no effect here: {why}")


@contextmanager
def _python_hint() -> Iterator[None]:
    """Adds the Python spelling to an error that names the option of the command."""
    try:
        yield
    except InputError as error:
        if "--map" not in str(error):
            raise
        hint = InputError(f'{error} (in Python: columns={{"text": "COLUMN"}})')
        hint.path, hint.line = error.path, error.line
        raise hint from None


def _quoted(text: str, limit: int = 60) -> str:
    return repr(text if len(text) <= limit else text[:limit] + "...")
