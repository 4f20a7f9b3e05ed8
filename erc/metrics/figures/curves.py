"""Reliability, rejection and risk-coverage curves, each with its baselines."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from erc.metrics.calibration import Reliability
from erc.metrics.figures.canvas import DASHES, GREY, INK, SERIES, frame, new_figure, save
from erc.uncertainty.rejection import RejectionCurve
from erc.uncertainty.selective import RiskCoverageCurve

_MARKERS = ("o", "s", "^", "D", "v", "P")


def reliability_figure(
    curves: Mapping[str, Reliability], path: str | Path, *, title: str = "Reliability"
) -> Path:
    """Frequency against probability of named sets of points, with 95% binomial bars.

    The diagonal is perfect calibration. The lower panel shows the number of cells per bin. Use bins of equal
    width
    over all cells of a multi-label task: most bins of equal mass are near 0.
    """
    figure, (axes, below) = new_figure(5.4, 6.4, rows=2, columns=1, height_ratios=(4, 1), sharex=True)
    axes.plot([0, 1], [0, 1], color=GREY, linewidth=1, linestyle="--", label="perfect")
    for number, (name, points) in enumerate(curves.items()):
        colour, dash, marker = _style(number)
        error = 1.96 * np.sqrt(np.maximum(points.frequency * (1 - points.frequency), 0) / points.count)
        reach = np.vstack([np.minimum(error, points.frequency), np.minimum(error, 1 - points.frequency)])
        label = name if points.error is None else f"{name} (ECE {points.error:.3f})"
        look: dict[str, Any] = {"color": colour, "linestyle": dash, "marker": marker}
        axes.errorbar(
            points.probability,
            points.frequency,
            yerr=reach,
            markersize=4.5,
            linewidth=1.5,
            capsize=2,
            label=label,
            **look,
        )
        below.plot(points.probability, points.count, markersize=3.5, linewidth=1.2, **look)
    frame(axes, title=title, y="observed frequency", grid="both")
    axes.set_xlim(-0.02, 1.02)
    axes.set_ylim(-0.02, 1.02)
    axes.legend(fontsize=8.5, frameon=False, loc="upper left")
    frame(below, x="predicted probability", y="cells", grid="y")
    counts = np.concatenate([points.count for points in curves.values()])
    below.set_yscale("log")
    below.set_ylim(
        10 ** np.floor(np.log10(counts.min(initial=1))), 10 ** np.ceil(np.log10(counts.max(initial=1) + 1))
    )
    below.yaxis.set_major_formatter(lambda value, _: f"{value:,.0f}")
    below.minorticks_off()
    return save(figure, path)


def rejection_figure(
    curves: Mapping[str, RejectionCurve],
    path: str | Path,
    *,
    title: str = "F1 when the most uncertain utterances are rejected",
) -> Path:
    """Macro and micro F1 against the rejected share of named uncertainties, with random rejection.

    The lower panel shows how many labels keep at least ten positives. If this number falls, a rise of the
        macro F1 is not meaningful.
    """
    figure, grid = new_figure(9.0, 5.4, rows=2, columns=2, height_ratios=(4, 1), sharex=True)
    for column, (field, name) in enumerate((("macro_f1", "macro-F1"), ("micro_f1", "micro-F1"))):
        axes, below = grid[:, column]
        for number, (label, curve) in enumerate(curves.items()):
            colour, dash, marker = _style(number)
            rejected = 1 - curve.coverage
            axes.plot(
                rejected,
                getattr(curve, field),
                color=colour,
                linestyle=dash,
                marker=marker,
                markersize=4,
                linewidth=1.6,
                label=label,
            )
            below.plot(
                rejected,
                (curve.supports >= 10).sum(axis=1),
                color=colour,
                linestyle=dash,
                marker=marker,
                markersize=3,
                linewidth=1.2,
            )
        baseline = next(iter(curves.values()))
        axes.plot(
            1 - baseline.coverage,
            getattr(baseline, f"random_{field}"),
            color=GREY,
            linestyle=":",
            linewidth=1.8,
            label="random rejection",
        )
        frame(axes, title=title if column == 0 else "", y=name)
        frame(below, x="share of utterances rejected", y="labels with\nn ≥ 10")
        below.xaxis.set_major_formatter(_percent)
        below.set_ylim(0, baseline.supports.shape[1] * 1.1)
    handles, names = grid[0, 0].get_legend_handles_labels()
    figure.legend(handles, names, loc="outside lower center", fontsize=8.5, frameon=False, ncols=4)
    return save(figure, path)


def risk_coverage_figure(
    curves: Mapping[str, RiskCoverageCurve],
    path: str | Path,
    *,
    oracle: RiskCoverageCurve | None = None,
    areas: Mapping[str, float] | None = None,
    loss: str = "loss",
    title: str = "Risk and coverage",
) -> Path:
    """Mean loss of the kept turns against coverage, with random rejection and the oracle.

    `areas` are shown in the legend.
    """
    figure, axes = new_figure(6.4, 5.0)
    for number, (name, curve) in enumerate(curves.items()):
        colour, dash, _ = _style(number)
        area = f" (AURC {areas[name]:.4f})" if areas and name in areas else ""
        axes.plot(curve.coverage, curve.risk, color=colour, linestyle=dash, linewidth=1.6, label=name + area)
    whole = next(iter(curves.values())).risk[-1]
    axes.axhline(whole, color=GREY, linestyle=":", linewidth=1.6, label="random rejection")
    if oracle is not None:
        coverage, risk = np.append(0, oracle.coverage), np.append(oracle.risk[0], oracle.risk)
        axes.plot(coverage, risk, color=INK, linewidth=0.9, label="oracle")
    frame(axes, title=title, x="coverage: share of utterances kept", y=f"mean {loss} of the kept")
    axes.xaxis.set_major_formatter(_percent)
    axes.set_xlim(0, 1)
    # The risk of the first few kept utterances varies between 0 and 1 and would dominate the scale.
    settled = [curve.risk[curve.coverage >= 0.02] for curve in curves.values()]
    axes.set_ylim(0, 1.15 * max(whole, *(risks.max(initial=0.0) for risks in settled)) or 1.0)
    figure.legend(loc="outside lower center", fontsize=8.5, frameon=False, ncols=2)
    return save(figure, path)


def _style(number: int) -> tuple[str, Any, str]:
    return SERIES[number % len(SERIES)], DASHES[number % len(DASHES)], _MARKERS[number % len(_MARKERS)]


def _percent(value: float, _: int) -> str:
    return f"{value:.0%}"
