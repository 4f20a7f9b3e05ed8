"""Figures and Markdown tables of the recipe study.

Shapes: N judged turns, K labels.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from study_cells import placeless, read_cell

UNTUNED = "untuned"
"""The name of the variant that is the base model without training."""


def same_study(one: Mapping[str, Any] | None, other: Mapping[str, Any] | None) -> bool:
    """Return whether two cells have the same base, sizes, overrides and sources; folders may differ."""
    if one is None or other is None:
        return one is other
    first, second = placeless(one), placeless(other)
    return all(
        first.get(key) == second.get(key)
        for key in ("base", "sizes", "terms", "classifier", "files", "prompts")
    )


def tables(folder: Path, *, variants: Sequence[str], make: Mapping[str, Any] | None = None) -> str:
    """Return the tables of the records in `folder`, one per base and sizes; with `make`, only its table."""
    records = [read_cell(path) or {} for path in sorted(folder.glob("*.json"))]
    kinds: list[list[dict[str, Any]]] = []
    for record in records:
        if make is not None and not same_study(record.get("made"), make):
            continue
        own = next((kind for kind in kinds if same_study(kind[0].get("made"), record.get("made"))), None)
        kinds.append([record]) if own is None else own.append(record)
    return (
        "\n\n".join(table(folder.name, kind, variants=variants) for kind in kinds)
        or f"{folder}: no cell has finished"
    )


def figures_of(decisions: np.ndarray, targets: np.ndarray) -> dict[str, float]:
    """Return weighted and macro F1 of decisions (N,) against targets (N,)."""
    from sklearn.metrics import f1_score

    return {
        f"{kind}_f1": float(f1_score(targets, decisions, average=kind, zero_division=0))
        for kind in ("weighted", "macro")
    }


def macro_auc(probabilities: np.ndarray, targets: np.ndarray) -> float:
    """Return the mean one-against-rest AUROC over labels, of probabilities (N, K) and targets (N,)."""
    from sklearn.metrics import roc_auc_score

    seen = [k for k in range(probabilities.shape[1]) if 0 < (targets == k).sum() < len(targets)]
    return float(np.mean([roc_auc_score(targets == k, probabilities[:, k]) for k in seen]))


def table(corpus: str, records: Sequence[Mapping[str, Any]], *, variants: Sequence[str]) -> str:
    """Return the Markdown table of records with the same inputs.

    Shows means over the seeds with a 95% interval over resampled dialogues, and the difference to the untuned
    base on the same dialogues.
    """
    from erc.metrics.bootstrap import bootstrap_interval, paired_bootstrap

    one = records[0]
    targets, groups = np.array(one["targets"]), np.array(one["groups"])
    base = one["made"]["base"]["path"] if "made" in one else "unrecorded base"
    train, dev = one["sizes"]
    head = f"| {corpus}, {base}, {train} training and {dev} dev conversations ({len(targets)} turns) "
    head += "| seeds | weighted F1 | above the untuned | macro F1 | macro AUC |"
    lines = [head, "|---|---|---|---|---|---|", _chance(np.array(one["train_counts"]), targets)]
    untuned = next(
        (np.array(record["decisions"])[:, None] for record in records if record["variant"] == UNTUNED), None
    )

    def mean_f1(columns: np.ndarray, truth: np.ndarray) -> float:
        return float(np.mean([figures_of(column, truth)["weighted_f1"] for column in columns.T]))

    for name in variants:
        found = [record for record in records if record["variant"] == name]
        if not found:
            continue
        columns = np.stack([record["decisions"] for record in found], axis=1)
        spread = bootstrap_interval(mean_f1, columns, targets, groups=groups, resamples=300)
        macro, auc = (float(np.mean([record[key] for record in found])) for key in ("macro_f1", "auc"))
        weighted = f"{mean_f1(columns, targets):.3f} ({spread.low:.3f} to {spread.high:.3f})"
        above = ""
        if untuned is not None and name != UNTUNED:
            more = paired_bootstrap(mean_f1, columns, untuned, targets, groups=groups, resamples=300)
            above = f"{more.difference:+.3f} ({more.low:+.3f} to {more.high:+.3f})"
        lines.append(f"| {name} | {len(found)} | {weighted} | {above} | {macro:.3f} | {auc:.3f} |")
    return "\n".join(lines)


def _chance(counts: np.ndarray, targets: np.ndarray) -> str:
    """Return the row of random draws from the training frequencies."""
    rng = np.random.default_rng(0)
    draws = [
        figures_of(rng.choice(len(counts), size=len(targets), p=counts / counts.sum()), targets)
        for _ in range(200)
    ]
    weighted = [draw["weighted_f1"] for draw in draws]
    low, high = np.quantile(weighted, [0.025, 0.975])
    macro = np.mean([draw["macro_f1"] for draw in draws])
    interval = f"{np.mean(weighted):.3f} ({low:.3f} to {high:.3f})"
    return f"| drawn by training frequency | | {interval} | | {macro:.3f} | 0.500 |"
