"""The model card of an utterance classifier."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from erc.persistence.card import write_card
from erc.persistence.info import ArtefactInfo

_SUMMARY = (
    "Says for a single text which of the emotions it expresses: one encoder pass, one independent sigmoid "
    "per emotion, calibrated "
    "per label. It is the shared utterance classifier of Convemo: its embedding and probabilities are what "
    "the conversation "
    "models and the speaker memory read."
)


def utterance_card(info: ArtefactInfo, metrics: Mapping[str, Any], policies: Mapping[str, Any]) -> str:
    """The card of a finished run."""
    dev, compression = metrics["dev"], metrics["compression"]
    tuned, half = dev["tuned"]["cross_fitted"], dev["at_half"]
    interval = tuned["intervals"]["macro_f1"]
    figures = [
        (
            "macro F1, thresholds cross-fitted",
            f"{tuned['macro']['f1']:.3f} (95% interval {interval['low']:.3f} to {interval['high']:.3f})",
        ),
        ("micro F1, thresholds cross-fitted", f"{tuned['micro']['f1']:.3f}"),
        ("weighted F1, thresholds cross-fitted", f"{tuned['weighted']['f1']:.3f}"),
        ("samples F1, thresholds cross-fitted", f"{tuned['samples']['f1']:.3f}"),
        ("macro F1 at 0.5, uncalibrated", f"{half['macro']['f1']:.3f}"),
        (
            "macro F1, thresholds fitted on the same split (optimistic)",
            f"{dev['tuned']['in_sample']['macro']['f1']:.3f}",
        ),
        ("macro F1 before compression, cross-fitted", f"{compression['macro_f1_full']:.3f}"),
        ("weights", f"{compression['bytes'] / 1e6:.1f} MB"),
    ]
    for mode in metrics["monte_carlo"]["figures"]:
        figures.append(
            (
                f"AURC of total entropy against Hamming loss, `{mode['mode']}`, N = {mode['samples']}",
                f"{mode['aurc']:.5f}",
            )
        )
    return write_card(
        info,
        metrics,
        summary=_SUMMARY,
        figures=figures,
        per_label=_per_label(tuned["per_label"]),
        policy=policies,
    )


def _per_label(rows: list[Mapping[str, Any]]) -> str:
    lines = ["| emotion | precision | recall | F1 | MCC | support |", "| --- | --- | --- | --- | --- | --- |"]
    lines += [
        f"| {r['label']} | {r['precision']:.3f} | {r['recall']:.3f} | {r['f1']:.3f} | {r['mcc']:.3f} | "
        f"{r['support']} |"
        for r in rows
    ]
    return "\n".join(lines)
