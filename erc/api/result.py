"""The result of labelling: the turns with their predictions, and problems in the input."""

from __future__ import annotations

import io
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, overload

from erc.api.html import result_html
from erc.errors import ConvemoError
from erc.inference.prediction import Prediction
from erc.inference.predictor import Labelled
from erc.transcripts import Problem, open_writer
from erc.transcripts.writers.csv_jsonl import CSV_COLUMNS
from erc.transcripts.writers.records import plain
from erc.uncertainty.policy import REVIEW

if TYPE_CHECKING:
    import pandas

_TABLE_TURNS = 100
_WIDTH = 120


class LabelResult(Sequence[Prediction]):
    """The labelled turns of one call, in reading order.

    A sequence of `erc.Prediction`, with iteration, indexing and length. `print` shows a table, and a notebook
        shows it as HTML.

    Attributes:
        conversations: One `Labelled` for each conversation, with its `predictions`.
        problems: Lines of the input that were skipped or repaired.
        notes: Choices made while reading, and warnings of the speaker memory.
    """

    def __init__(
        self,
        conversations: Sequence[Labelled],
        *,
        problems: Sequence[Problem] = (),
        notes: Sequence[str] = (),
    ) -> None:
        self.conversations = tuple(conversations)
        self.problems = tuple(problems)
        self.notes = tuple(notes)
        self._turns = tuple(turn for labelled in self.conversations for turn in labelled.predictions)

    def __len__(self) -> int:
        return len(self._turns)

    def __iter__(self) -> Iterator[Prediction]:
        return iter(self._turns)

    @overload
    def __getitem__(self, index: int) -> Prediction: ...

    @overload
    def __getitem__(self, index: slice) -> tuple[Prediction, ...]: ...

    def __getitem__(self, index: int | slice) -> Prediction | tuple[Prediction, ...]:
        return self._turns[index]

    @property
    def review(self) -> list[Prediction]:
        """Turns marked for review, the least certain first."""
        return sorted((turn for turn in self._turns if turn.decision == REVIEW), key=lambda turn: -turn.total)

    def to_dict(self) -> list[dict[str, Any]]:
        """One JSON-compatible record for each turn, as `erc label --json` prints it."""
        return [plain(turn.to_record()) for turn in self._turns]

    def to_jsonl(self, path: str | Path | None = None) -> str | None:
        """JSON Lines, written to `path` or returned as text. Files are written atomically.

        Raises:
            InputError: When `path` cannot be written.
        """
        buffer = io.BytesIO()
        with open_writer(buffer if path is None else path, "jsonl") as writer:
            for record in self.to_dict():
                writer.write(record)
        return buffer.getvalue().decode() if path is None else None

    def save(self, path: str | Path) -> None:
        """Writes a .jsonl, .csv, .parquet or .vtt file, by its suffix. Files are written atomically.

        Raises:
            InputError: When the suffix names no format, the format cannot hold a turn (WebVTT needs times),
                or `path` cannot be written.
        """
        with open_writer(path) as writer:
            for turn in self._turns:
                writer.write(turn.to_record())

    def to_pandas(self) -> pandas.DataFrame:
        """A data frame with one row for each turn and the columns of the CSV output.

        `probabilities` and `fine` hold the Python objects of the record.

        Raises:
            ConvemoError: When pandas is not installed.
        """
        try:
            import pandas
        except ImportError:
            raise ConvemoError("to_pandas needs the package 'pandas': pip install pandas") from None
        rows = [[_cell(record, column) for column in CSV_COLUMNS] for record in self.to_dict()]
        return pandas.DataFrame(rows, columns=list(CSV_COLUMNS))

    def __str__(self) -> str:
        from rich.console import Console

        from erc.api.table import conversation_table

        width = max(60, shutil.get_terminal_size((_WIDTH, 24)).columns)
        console = Console(file=io.StringIO(), width=width, color_system=None, legacy_windows=False)
        left = _TABLE_TURNS
        for labelled in self.conversations:
            if left <= 0:
                break
            console.print(conversation_table(labelled, turns=left, width=width))
            left -= len(labelled.predictions)
        lines = [console.file.getvalue().rstrip("\n")]  # type: ignore[attr-defined]
        if left < 0:
            lines.append(f"{-left} more turns are not shown")
        lines.append(self._summary())
        return "\n".join(line for line in lines if line)

    def __repr__(self) -> str:
        return f"<LabelResult: {self._summary()}>"

    def _repr_html_(self) -> str:
        """The table of a notebook; every text from the transcript is escaped."""
        return result_html(self.conversations, turns=_TABLE_TURNS, summary=self._summary())

    def _summary(self) -> str:
        parts = [
            _count(len(self), "turn"),
            _count(len(self.conversations), "conversation"),
            f"{len(self.review)} for review",
        ]
        if self.problems:
            parts.append(f"{_count(len(self.problems), 'problem')} in the input")
        return ", ".join(parts)


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def _cell(record: dict[str, Any], column: str) -> Any:
    """The value of a column of the CSV output; `uncertainty_total` is `total` within `uncertainty`."""
    if column in record:
        return record[column]
    outer, _, inner = column.partition("_")
    nested = record.get(outer)
    return nested.get(inner) if isinstance(nested, dict) else None
