"""Uncertainty of each emotion, by probability and as distributions of its two parts.

Shapes: B utterances, C labels.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from erc.metrics.figures.canvas import BLUE, GREEN, GREY, INK, ORANGE, RED, frame, new_figure, save
from erc.uncertainty.decomposition import Uncertainty

_POINTS = 1_500  # points per panel: more would only overlap


def probability_uncertainty_figure(
    probabilities: np.ndarray,
    uncertainty: np.ndarray,
    targets: np.ndarray,
    labels: Sequence[str],
    path: str | Path,
    *,
    thresholds: Sequence[float] | None = None,
    name: str = "epistemic uncertainty (nats)",
    seed: int = 0,
) -> Path:
    """One panel per emotion: each cell of (B, C) by mean probability and uncertainty, positives in front.

    The vertical line is the label's threshold. All positives and a seeded sample of negatives are shown.
    """
    observed = np.asarray(targets).astype(bool)
    columns = min(7, len(labels))
    rows = -(-len(labels) // columns)
    figure, grid = new_figure(
        1.75 * columns + 0.6,
        1.6 * rows + 0.8,
        rows=rows,
        columns=columns,
        squeeze=False,
        sharex=True,
        sharey=True,
    )
    rng = np.random.default_rng(seed)
    for axes in grid.ravel()[len(labels) :]:
        axes.set_visible(False)
    dots: dict[str, Any] = {"linewidths": 0.7, "alpha": 0.7, "rasterized": True}
    for c, (axes, label) in enumerate(zip(grid.ravel(), labels, strict=False)):
        negatives = np.flatnonzero(~observed[:, c])
        negatives = rng.choice(negatives, min(_POINTS, len(negatives)), replace=False)
        for chosen, colour, marker, size in (
            (negatives, GREY, ".", 5.0),
            (np.flatnonzero(observed[:, c]), RED, "x", 9.0),
        ):
            axes.scatter(
                probabilities[chosen, c], uncertainty[chosen, c], s=size, c=colour, marker=marker, **dots
            )
        if thresholds is not None:
            axes.axvline(thresholds[c], color=BLUE, linewidth=1)
        frame(axes, grid="both")
        axes.set_title(f"{label}  n={observed[:, c].sum():,}", fontsize=8, color=INK, loc="left")
        axes.tick_params(labelsize=7)
        axes.set_xlim(0, 1)
        axes.set_xticks((0, 0.5, 1), ("0", ".5", "1"))
        axes.set_ylim(0, None)
    figure.supxlabel("mean probability", fontsize=9.5, color=INK)
    figure.supylabel(name, fontsize=9.5, color=INK)
    handles = _legend_handles(thresholds is not None)
    figure.legend(handles=handles, loc="outside upper right", ncols=len(handles), fontsize=8.5, frameon=False)
    return save(figure, path)


def uncertainty_ridges_figure(
    uncertainty: Uncertainty,
    labels: Sequence[str],
    path: str | Path,
    *,
    title: str = "Aleatoric and epistemic uncertainty",
) -> Path:
    """Smoothed distributions of the aleatoric and epistemic parts (B, C), one ridge per emotion.

    The emotion with the largest mean is on top. Each ridge is scaled separately; the tick is the mean.
    """
    order = np.argsort(-uncertainty.total.mean(axis=0), kind="stable")
    figure, panels = new_figure(9.0, 1.3 + 0.27 * len(labels), rows=1, columns=2, sharey=True)
    parts = (("aleatoric", uncertainty.aleatoric, ORANGE), ("epistemic", uncertainty.epistemic, GREEN))
    for axes, (name, values, colour) in zip(panels, parts, strict=True):
        end = float(np.quantile(values, 0.999)) or 1e-3
        scale = np.linspace(0, end, 200)
        for row, c in enumerate(order):
            heights = _ridge(values[:, c], scale)
            axes.fill_between(scale, row, row - 0.9 * heights, color=colour, alpha=0.75, linewidth=0)
            axes.plot(scale, row - 0.9 * heights, color=INK, linewidth=0.6)
            axes.plot([values[:, c].mean()] * 2, [row, row - 0.55], color=INK, linewidth=1.6)
        frame(axes, title=title if name == "aleatoric" else "", x=f"{name} uncertainty (nats)", grid="x")
        axes.set_xlim(0, end)
        axes.locator_params(axis="x", nbins=5)
        axes.set_ylim(len(labels) - 0.7, -1.2)
        axes.tick_params(axis="y", length=0)
    panels[0].set_yticks(np.arange(len(labels)), [labels[c] for c in order], fontsize=8.5)
    return save(figure, path)


def _ridge(values: np.ndarray, scale: np.ndarray) -> np.ndarray:
    """A histogram density smoothed over 1/50 of the scale, with peak 1.

    It is reflected at the ends. The square root makes the tails visible.
    """
    from scipy.ndimage import gaussian_filter1d

    step = scale[1] - scale[0]
    counts = np.bincount((values[values < scale[-1]] / step).astype(int), minlength=len(scale))[
        : len(scale)
    ].astype(float)
    smooth = np.sqrt(gaussian_filter1d(counts, len(scale) / 50, mode="reflect"))
    return smooth / max(smooth.max(), 1e-12)


def _legend_handles(with_threshold: bool) -> list[Any]:
    from matplotlib.lines import Line2D

    handles = [
        Line2D([], [], color=RED, marker="x", linestyle="", markersize=5, label="label is true"),
        Line2D([], [], color=GREY, marker=".", linestyle="", markersize=5, label="label is not"),
    ]
    return (
        [*handles, Line2D([], [], color=BLUE, linewidth=1, label="threshold")] if with_threshold else handles
    )
