"""Common parts of the figures: a colour-blind safe palette, the frame of the axes, and saving.

The colours are those of Okabe and Ito (2008). Series also differ by dash or marker, so they are readable in a
grey print.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from erc.errors import MissingExtraError

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

BLUE, ORANGE, GREEN, RED, PURPLE, SKY, GREY, INK = (
    "#0072B2",
    "#E69F00",
    "#009E73",
    "#D55E00",
    "#CC79A7",
    "#56B4E9",
    "#8A8A8A",
    "#222222",
)
SERIES = (BLUE, RED, GREEN, ORANGE, PURPLE, SKY)
DASHES: tuple[Any, ...] = (
    "-",
    (0, (5, 2)),
    (0, (6, 1, 1, 1)),
    (0, (9, 2)),
    (0, (3, 1, 1, 1, 1, 1)),
    (0, (2, 1)),
)
SEQUENTIAL = "Blues"  # one hue from light to dark: readable in grey and for colour-blind readers
_DPI = 160


def new_figure(
    width: float, height: float, *, rows: int = 1, columns: int = 1, **grid: Any
) -> tuple[Figure, Any]:
    """(figure, axes) of `width` by `height` inches; MissingExtraError without matplotlib."""
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise MissingExtraError("matplotlib", "report") from error
    figure = Figure(figsize=(width, height), dpi=_DPI, layout="constrained", facecolor="white")
    return figure, figure.subplots(rows, columns, **grid)


def frame(axes: Axes, *, title: str = "", x: str = "", y: str = "", grid: str | None = "y") -> None:
    """Sets titles, light grid lines on one axis or both, and no box."""
    axes.set_title(title, loc="left", fontsize=11, color=INK, fontweight="bold")
    axes.set_xlabel(x, fontsize=9.5, color=INK)
    axes.set_ylabel(y, fontsize=9.5, color=INK)
    axes.tick_params(labelsize=8.5, colors=INK, length=3)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    for side in ("left", "bottom"):
        axes.spines[side].set_color(GREY)
    axes.set_axisbelow(True)
    if grid:
        axes.grid(axis=grid, color="#E4E4E4", linewidth=0.8)  # type: ignore[arg-type]


def save(figure: Figure, path: str | Path) -> Path:
    """Writes the PNG, making its folder, and returns the path."""
    target = Path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(target, format="png", metadata={"Software": None})
    return target
