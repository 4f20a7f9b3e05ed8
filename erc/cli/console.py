"""Where the command talks: results to standard output, everything else to standard error."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    SpinnerColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

_PIPED_WIDTH = 130
"""Columns of a table where no terminal and no COLUMNS sets a width; the 80 that are usual would squeeze the text away."""
stdout = Console(width=None if sys.stdout.isatty() or "COLUMNS" in os.environ else _PIPED_WIDTH)
"""For results only, so that they can be piped."""
stderr = Console(stderr=True)
"""For talk, warnings and progress."""


def tell(message: str) -> None:
    """Prints a message to standard error as it is: no markup, no highlighting, no wrapping."""
    stderr.print(message, markup=False, highlight=False, soft_wrap=True)


@contextmanager
def progress_bar(
    description: str, total: int | None = None, *, console: Console = stderr
) -> Iterator[Callable[[int], None]]:
    """A bar on standard error for the time of the `with` block; yields a function that advances it by n steps.

    With `total` unknown the bar shows a spinner and the count. Draws nothing where standard error is not a
    terminal.
    """
    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        task = progress.add_task(description, total=total)
        yield lambda steps: progress.advance(task, steps)
