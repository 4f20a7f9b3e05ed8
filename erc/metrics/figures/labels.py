"""Figures with one row per label: frequency, F1, and confusion with other labels."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from erc.metrics.figures.canvas import BLUE, GREY, INK, ORANGE, RED, SEQUENTIAL, frame, new_figure, save
from erc.uncertainty.counts import safe_ratio

if TYPE_CHECKING:
    from matplotlib.axes import Axes

TIERS = (
    (0.6, "strong, F1 of 0.6 and more", BLUE),
    (0.3, "fair, 0.3 to 0.6", ORANGE),
    (0.0, "weak, below 0.3", RED),
)
_UNDERLAY = {"facecolor": "white", "edgecolor": "none", "pad": 0.8}


def label_distribution_figure(
    counts: Sequence[int],
    labels: Sequence[str],
    path: str | Path,
    *,
    utterances: int,
    title: str = "Label distribution",
) -> Path:
    """Horizontal bars of the number of `utterances` per label, most frequent first.

    The scale is logarithmic if the counts span two orders of magnitude.
    """
    values = np.asarray(counts, dtype=np.int64)
    order = np.argsort(-values, kind="stable")
    figure, axes = new_figure(7.0, 1.2 + 0.22 * len(values))
    bars = axes.barh(np.arange(len(values)), values[order], color=BLUE, height=0.72)
    share = safe_ratio(values, np.array(utterances))
    axes.bar_label(bars, [f"{values[i]:,} ({share[i]:.1%})" for i in order], padding=3, fontsize=8, color=INK)
    if values.max() > 100 * max(values.min(), 1):
        axes.set_xscale("log")
        axes.xaxis.set_major_formatter(lambda value, _: f"{value:,.0f}")
        axes.set_xlim(max(values[values > 0].min() / 2, 0.5), values.max() * 4)
    else:
        axes.set_xlim(0, values.max() * 1.2 + 1)
    frame(
        axes, title=title, x="utterances" + (" (log scale)" if axes.get_xscale() == "log" else ""), grid="x"
    )
    _name_rows(axes, [labels[i] for i in order])
    return save(figure, path)


def per_class_f1_figure(
    f1: Sequence[float],
    supports: Sequence[int],
    labels: Sequence[str],
    path: str | Path,
    *,
    intervals: Sequence[tuple[float, float]] | None = None,
    title: str = "F1 per label",
) -> Path:
    """Bars of F1 by label in descending order, with supports, and intervals if given.

    The dashed line is the macro average; colours are tiers.
    """
    values = np.asarray(f1, dtype=np.float64)
    order = np.argsort(-values, kind="stable")
    figure, axes = new_figure(7.0, 1.6 + 0.22 * len(values))
    from matplotlib.patches import Patch

    tier = [next(number for number, (least, _, _) in enumerate(TIERS) if values[i] >= least) for i in order]
    for number, (_, _, colour) in enumerate(TIERS):
        rows = [row for row, own in enumerate(tier) if own == number]
        axes.barh(rows, values[order][rows], color=colour, height=0.72)
    right = values[order]
    if intervals is not None:
        low, high = np.array([intervals[i] for i in order]).T
        reach = np.abs(np.vstack([np.maximum(right - low, 0), np.maximum(high - right, 0)]))
        axes.errorbar(
            right, np.arange(len(values)), xerr=reach, fmt="none", ecolor=INK, elinewidth=1, capsize=2
        )
        right = np.maximum(right, high)
    for row, i in enumerate(order):
        axes.text(
            right[row] + 0.012,
            row,
            f"{values[i]:.2f}  n={supports[i]:,}",
            va="center",
            fontsize=8,
            color=INK,
            bbox=_UNDERLAY,
        )
    average = axes.axvline(
        values.mean(), color=INK, linestyle="--", linewidth=1, label=f"macro-F1 {values.mean():.3f}"
    )
    frame(axes, title=title, x="F1", grid="x")
    axes.set_xlim(0, 1.15)
    axes.set_xticks(np.arange(0, 1.01, 0.2))
    _name_rows(axes, [labels[i] for i in order])
    handles = [Patch(color=colour, label=name) for _, name, colour in TIERS]
    figure.legend(handles=[*handles, average], loc="outside lower center", fontsize=8, frameon=False, ncols=4)
    return save(figure, path)


def confusion_figure(
    confusion: np.ndarray, labels: Sequence[str], path: str | Path, *, title: str = "Confusion matrix"
) -> Path:
    """Confusion counts (C, C), rows true and columns decided, coloured by share of the row.

    Each cell shows the share and, with few classes, the count.
    """
    counts = np.asarray(confusion, dtype=np.int64)
    shares = safe_ratio(counts, counts.sum(axis=1, keepdims=True))
    many = len(labels) > 12
    texts = [
        [
            _percent(shares[i, j]) if many else f"{shares[i, j]:.0%}\n{counts[i, j]:,}"
            for j in range(len(labels))
        ]
        for i in range(len(labels))
    ]
    return _matrix(shares, texts, labels, path, title=title, bar="share of the true class")


def cooccurrence_figure(
    matrix: np.ndarray,
    labels: Sequence[str],
    path: str | Path,
    *,
    title: str = "Decided given true (%): the diagonal is the recall",
) -> Path:
    """The matrix of `cooccurrence_confusion`, in percent; cells below 1% are left empty."""
    shares = np.asarray(matrix, dtype=np.float64)
    texts = [[_percent(value) for value in row] for row in shares]
    return _matrix(shares, texts, labels, path, title=title, bar="share of utterances with the true label")


def _percent(share: float) -> str:
    return f"{100 * share:.0f}" if share >= 0.01 else ""


def _matrix(
    shares: np.ndarray,
    texts: list[list[str]],
    labels: Sequence[str],
    path: str | Path,
    *,
    title: str,
    bar: str,
) -> Path:
    size = len(labels)
    if shares.shape != (size, size):
        raise ValueError(f"the matrix has shape {shares.shape} for {size} labels")
    side = max(4.2, 1.9 + (0.36 if size > 12 else 0.62) * size)
    figure, axes = new_figure(side + 0.7, side)
    image = axes.imshow(shares, cmap=SEQUENTIAL, vmin=0.0, vmax=1.0)
    for (i, j), share in np.ndenumerate(shares):
        axes.text(
            j, i, texts[i][j], ha="center", va="center", fontsize=7.5, color="white" if share > 0.55 else INK
        )
    frame(axes, title=title, x="decided", y="true", grid=None)
    slant: dict[str, Any] = {"rotation": 60, "ha": "right", "rotation_mode": "anchor"} if size > 5 else {}
    axes.set_xticks(np.arange(size), labels, fontsize=8.5, **slant)
    axes.set_yticks(np.arange(size), labels, fontsize=8.5)
    for spine in axes.spines.values():
        spine.set_visible(False)
    colours = figure.colorbar(image, ax=axes, shrink=0.7, pad=0.02)
    colours.set_label(bar, fontsize=8.5, color=INK)
    colours.ax.tick_params(labelsize=8)
    colours.outline.set_edgecolor(GREY)
    return save(figure, path)


def _name_rows(axes: Axes, names: Sequence[str]) -> None:
    """One label per row, the first on top."""
    axes.set_yticks(np.arange(len(names)), names, fontsize=8.5)
    axes.set_ylim(len(names) - 0.4, -0.6)
    axes.tick_params(axis="y", length=0)
