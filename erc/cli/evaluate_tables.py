"""Tables of an evaluation report."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import RenderableType
from rich.table import Table

_AVERAGES = ("macro", "micro", "weighted", "samples")
_SIGNALS = {
    "max_probability": "1 - largest probability",
    "entropy": "entropy",
    "entropy_uncalibrated": "entropy, uncalibrated",
    "mc_total": "Monte-Carlo total",
    "mc_epistemic": "Monte-Carlo epistemic",
}
_LOSSES = {"hamming": "Hamming loss", "jaccard": "Jaccard loss", "zero_one": "0/1 error"}


def report_tables(report: Mapping[str, Any]) -> Iterator[RenderableType]:
    """All tables of the report of `erc.evaluation.evaluate`."""
    if report["task"] == "multi-label":
        yield _overview(list(_ways(report)))
        way, scores = next(iter(_ways(report)))
        yield _per_label(
            scores["per_label"],
            report["calibration"]["cross_fitted"],
            f"Per label, {way}",
            _thresholds(report),
        )
        fitted = report["calibration"]
        yield _calibration(
            {
                "uncalibrated": fitted["uncalibrated"],
                **_shipped_calibration(report),
                "cross-fitted": fitted["cross_fitted"],
            }
        )
    else:
        scores = report["scores"]
        yield _overview([("most probable label", scores)], averages=_AVERAGES[:3])
        fitted = report["calibration"]
        yield _per_label(scores["per_class"], fitted["cross_fitted"], "Per label", None)
        yield _confusion(report["labels"], scores["confusion"])
        if report["subsets"]:
            yield _subsets({"all turns": scores, **report["subsets"]})
        yield _calibration_of_classes(
            {"as the model gives them": fitted["as_given"], "cross-fitted": fitted["cross_fitted"]}
        )
    if report["prediction_sets"] is not None:
        yield _sets(report["prediction_sets"])
    for loss, signals in report["selective"].items():
        yield _selective(loss, signals)


def _ways(report: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """The decision rules with their scores, the main one first."""
    tuned, shipped = report["tuned"], report.get("shipped")
    yield "cross-fitted here", tuned["cross_fitted"]
    if shipped is not None:
        yield f"shipped{' (in-sample)' if shipped['in_sample'] else ' thresholds'}", shipped
    yield "0.5, uncalibrated", report["at_half"]
    yield "fitted here (optimistic)", tuned["in_sample"]


def _overview(ways: Sequence[tuple[str, Mapping[str, Any]]], averages: Sequence[str] = _AVERAGES) -> Table:
    table = _table("Scores", "decided by", "average", "prec.", "recall", "F1", "95% interval")
    for way, scores in ways:
        for average in averages:
            interval = scores["intervals"].get(f"{average}_f1")
            part = scores[average]
            shown = "" if interval is None else f"{interval['low']:.3f}-{interval['high']:.3f}"
            table.add_row(
                way if average == averages[0] else "",
                average,
                *_figures(part["precision"], part["recall"], part["f1"]),
                shown,
            )
        if "accuracy" in scores:
            interval = scores["intervals"]["accuracy"]
            table.add_row(
                "",
                "accuracy",
                "",
                "",
                f"{scores['accuracy']:.3f}",
                f"{interval['low']:.3f}-{interval['high']:.3f}",
            )
    return table


def _per_label(
    rows: Sequence[Mapping[str, Any]],
    calibration: Mapping[str, Any],
    title: str,
    thresholds: Mapping[str, float] | None,
) -> Table:
    headers = ["label", "acc.", "prec.", "recall", "F1", "MCC", "support", "ECE"] + (
        [] if thresholds is None else ["thr."]
    )
    table = _table(title, *headers)
    errors = {row["label"]: row["ece"] for row in calibration.get("per_label") or calibration["per_class"]}
    for row in rows:
        cells = _figures(*(row[name] for name in ("accuracy", "precision", "recall", "f1", "mcc")))
        cells += [f"{row['support']:,}", f"{errors[row['label']]:.3f}"]
        table.add_row(
            row["label"], *cells, *([] if thresholds is None else [f"{thresholds[row['label']]:.2f}"])
        )
    return table


def _thresholds(report: Mapping[str, Any]) -> dict[str, float]:
    """The shipped thresholds by label, or those fitted on this data."""
    rows = (report.get("shipped") or report["tuned"]["in_sample"])["per_label"]
    return {row["label"]: row["threshold"] for row in rows}


def _shipped_calibration(report: Mapping[str, Any]) -> dict[str, Any]:
    shipped = report.get("shipped")
    return {} if shipped is None else {"shipped calibrator": shipped["calibration"]}


def _calibration(parts: Mapping[str, Mapping[str, Any]]) -> Table:
    table = _table(
        "Calibration", "probabilities", "macro ECE", "weighted ECE", "ECE, p >= 0.2", "Brier", "log loss"
    )
    for name, part in parts.items():
        restricted = "" if part["restricted_ece"] is None else f"{part['restricted_ece']:.4f}"
        table.add_row(
            name,
            f"{part['macro_ece']:.4f}",
            f"{part['weighted_ece']:.4f}",
            restricted,
            f"{part['brier']:.4f}",
            f"{part['nll']:.4f}",
        )
    return table


def _confusion(labels: Sequence[str], counts: Sequence[Sequence[int]]) -> Table:
    """Confusion matrix: true labels in rows, predicted labels in columns."""
    table = _table(
        "Confusion: the gold label of a row, the model's of a column", "", *(label[:8] for label in labels)
    )
    for label, row in zip(labels, counts, strict=True):
        table.add_row(label, *(f"{count:,}" if count else "." for count in row))
    return table


def _subsets(parts: Mapping[str, Mapping[str, Any] | None]) -> Table:
    """Scores of subsets of turns; empty subsets are left out."""
    table = _table("Subsets", "turns", "number", "weighted F1", "95% interval", "macro F1", "accuracy")
    for name, scores in parts.items():
        if scores is None:
            continue
        interval = scores["intervals"]["weighted_f1"]
        table.add_row(
            name.replace("_", " "),
            f"{scores['utterances']:,}",
            *_figures(scores["weighted"]["f1"]),
            f"{interval['low']:.3f}-{interval['high']:.3f}",
            *_figures(scores["macro"]["f1"], scores["accuracy"]),
        )
    return table


def _calibration_of_classes(parts: Mapping[str, Mapping[str, Any]]) -> Table:
    table = _table("Calibration", "probabilities", "ECE", "classwise ECE", "confidence", "Brier", "log loss")
    for name, part in parts.items():
        cells = (part[key] for key in ("top_ece", "classwise_ece", "mean_confidence", "brier", "nll"))
        table.add_row(name, *(f"{value:.4f}" for value in cells))
    return table


def _sets(scores: Mapping[str, float]) -> Table:
    """Coverage and size of the prediction sets."""
    table = _table("Prediction sets, cross-fitted here", "sets", "coverage", "mean size", "empty")
    cells = f"{scores['coverage']:.3f}", f"{scores['mean_size']:.2f}", f"{scores['empty']:.1%}"
    table.add_row(f"{1 - scores['alpha']:.0%} of true labels", *cells)
    return table


def _selective(loss: str, signals: Mapping[str, Mapping[str, Any]]) -> Table:
    """Areas of every uncertainty estimate.

    The last two columns compare the AURC with that of the cheapest signal, the entropy of one deterministic
    pass: the difference and its p-value.
    """
    title = f"{_LOSSES.get(loss, loss)} of the turns kept, the surest first (lower is better)"
    table = _table(title, "ranked by", "AURC", "95% interval", "AUGRC", "- entropy", "p")
    for name, scores in signals.items():
        area, against = scores["aurc"], scores.get("against_entropy", {}).get("aurc")
        table.add_row(
            _SIGNALS.get(name, name),
            f"{area['estimate']:.4f}",
            f"{area['low']:.4f}-{area['high']:.4f}",
            f"{scores['augrc']['estimate']:.4f}",
            *(
                ("", "")
                if against is None
                else (f"{against['difference']:+.4f}", f"{against['p_value']:.3f}")
            ),
        )
    return table


def _table(title: str, *headers: str) -> Table:
    """A table of at most 80 columns: words in the first column, numbers in the others."""
    table = Table(title=title, title_justify="left", box=SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))
    for number, header in enumerate(headers):
        table.add_column(header, justify="right" if number else "left", no_wrap=not number)
    return table


def _figures(*values: float) -> list[str]:
    return [f"{value:.3f}" for value in values]
