"""Types of reading and writing transcripts."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol

from erc.data import Conversation
from erc.errors import InputError

UNKNOWN_SPEAKER = "unknown"
"""The speaker of a turn whose source names none."""


@dataclass(frozen=True, slots=True)
class Problem:
    """A part of a file that could not be used as written. `line` counts from 1; None means the whole file."""

    path: str
    line: int | None
    message: str

    def __str__(self) -> str:
        place = self.path if self.line is None else f"{self.path}:{self.line}"
        return f"{place}: {self.message}"


@dataclass(frozen=True, slots=True)
class Sniffed:
    """A detected format, with a `confidence` in [0, 1] and the `reason` in words."""

    format: str
    confidence: float
    reason: str


@dataclass(frozen=True, slots=True)
class Transcript:
    """The conversations of one file.

    Attributes:
        conversations: In the order of the file.
        format: The name of the format it was read as.
        problems: Lines that were skipped or repaired.
        notes: Choices the reader made, such as columns and encoding.
        sniffed: How the format was detected; None if the caller named it.
    """

    conversations: tuple[Conversation, ...]
    format: str
    problems: tuple[Problem, ...] = ()
    notes: tuple[str, ...] = ()
    sniffed: Sniffed | None = None

    @property
    def turns(self) -> int:
        """Utterances over all conversations."""
        return sum(len(conversation) for conversation in self.conversations)


class Line(NamedTuple):
    """One physical line with its line ending; `number` counts from 1."""

    number: int
    text: str


@dataclass(slots=True, kw_only=True)
class Draft:
    """A turn as a reader found it, before it has an index and clean text.

    Attributes:
        line: The line where it begins.
        text: Its text, not cleaned.
        speakers: Its speakers; empty if the source names none.
        conversation: Its conversation id, if the source has one.
        utterance_id: Its own id, if the source has one.
        start: Seconds from the beginning of the recording.
        end: Seconds from the beginning of the recording.
        timestamp: An ISO 8601 moment.
        emotions: Gold labels.
        meta: Other values of the source.
    """

    line: int
    text: str
    speakers: tuple[str, ...] = ()
    conversation: str | None = None
    utterance_id: str | None = None
    start: float | None = None
    end: float | None = None
    timestamp: str | None = None
    emotions: tuple[str, ...] = ()
    meta: dict[str, Any] = field(default_factory=dict)


class Log:
    """Passes on problems and notes of reading. In strict mode the first problem raises InputError."""

    def __init__(
        self,
        path: str,
        *,
        strict: bool = False,
        on_problem: Callable[[Problem], None] | None = None,
        on_note: Callable[[str], None] | None = None,
    ) -> None:
        self.path = path
        self.strict = strict
        self.problems = 0
        self.first: Problem | None = None
        self._on_problem = on_problem
        self._on_note = on_note

    def problem(self, line: int | None, message: str, done: str | None = None) -> None:
        """Report what is wrong at `line`, and what the reader has `done` about it.

        Raises:
            InputError: in strict mode.
        """
        if self.strict:
            raise InputError(message, path=self.path, line=line)
        problem = Problem(self.path, line, message if done is None else f"{message}: {done}")
        self.problems += 1
        self.first = self.first or problem
        if self._on_problem is not None:
            self._on_problem(problem)

    def note(self, message: str) -> None:
        """Report a choice that the reader made for the user."""
        if self._on_note is not None:
            self._on_note(message)


class Reader(Protocol):
    """Reads one format: turns lines into drafts and reports problems to the log."""

    def __call__(self, lines: Iterable[Line], *, mapping: Mapping[str, str], log: Log) -> Iterator[Draft]:
        """Yield the turns of `lines` in file order.

        `mapping` goes from field to column and is empty for formats without columns.

        Raises:
            InputError: for a mapping or a file that cannot be used at all, and in strict mode.
        """
        ...


class RecordWriter(Protocol):
    """Writes records in the order given. The caller ends with `finish`, or after a failure with `discard`."""

    def write(self, record: Mapping[str, Any]) -> None:
        """Write one record.

        Raises:
            InputError: for a record that the format cannot hold.
        """
        ...

    def finish(self) -> None:
        """Write what is still buffered."""
        ...

    def discard(self) -> None:
        """Write nothing more and release everything."""
        ...
