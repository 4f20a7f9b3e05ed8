"""Output of the command: results on standard output, everything else on standard error."""

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
"""Width of tables without a terminal and COLUMNS. In the usual 80 columns, texts have no space."""
stdout = Console(width=None if sys.stdout.isatty() or "COLUMNS" in os.environ else _PIPED_WIDTH)
"""For results, so that they can be piped."""
stderr = Console(stderr=True)
"""For messages, warnings and progress."""


def tell(message: str) -> None:
    """Print a message to standard error without markup, highlighting and wrapping."""
    stderr.print(message, markup=False, highlight=False, soft_wrap=True)


@contextmanager
def progress_bar(
    description: str, total: int | None = None, *, console: Console = stderr
) -> Iterator[Callable[[int], None]]:
    """Show a progress bar during the `with` block; yields a function that advances it by n steps.

    Without `total` it shows a spinner and the count. Draws nothing if `console` is not a terminal.
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
