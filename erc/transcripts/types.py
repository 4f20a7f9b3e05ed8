"""What reading a transcript gives: conversations, and everything that was odd on the way."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol

from erc.data import Conversation
from erc.errors import InputError

UNKNOWN_SPEAKER = "unknown"
"""The name of a turn's speaker where the source gives none."""


@dataclass(frozen=True, slots=True)
class Problem:
    """Something in a file that could not be used as it stood; `line` counts from 1, None means the whole file."""

    path: str
    line: int | None
    message: str

    def __str__(self) -> str:
        place = self.path if self.line is None else f"{self.path}:{self.line}"
        return f"{place}: {self.message}"


@dataclass(frozen=True, slots=True)
class Sniffed:
    """A guess at a format: `confidence` in [0, 1] and the `reason` in words."""

    format: str
    confidence: float
    reason: str


@dataclass(frozen=True, slots=True)
class Transcript:
    """The conversations of one file.

    `problems` are lines that were skipped or mended, `notes` are choices the reader made (columns, encoding);
    `sniffed` is the guess the format came from, None where the caller named it.
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
    """One physical line, its ending kept; `number` counts from 1."""

    number: int
    text: str


@dataclass(slots=True, kw_only=True)
class Draft:
    """A turn as one reader found it, before it has an id, an index and clean text."""

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
    """Takes down problems and notes while a file is read; in strict mode the first problem ends the reading."""

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
        """Report what is wrong at `line`, and what is `done` about it. Raises InputError, of what is wrong alone, in strict mode."""
        if self.strict:
            raise InputError(message, path=self.path, line=line)
        problem = Problem(self.path, line, message if done is None else f"{message}: {done}")
        self.problems += 1
        self.first = self.first or problem
        if self._on_problem is not None:
            self._on_problem(problem)

    def note(self, message: str) -> None:
        """Tell the user of a choice that was made for them."""
        if self._on_note is not None:
            self._on_note(message)


class Reader(Protocol):
    """One format: lines in, drafts out, problems to the log. Raises nothing but InputError."""

    def __call__(self, lines: Iterable[Line], *, mapping: Mapping[str, str], log: Log) -> Iterator[Draft]:
        """Yield the turns of `lines` in file order; `mapping` is field to column, empty for formats without columns."""
        ...


class RecordWriter(Protocol):
    """Writes records in the order it gets them. The caller ends with `finish`, or with `discard` after a failure."""

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
