"""What the card of a conversation model shows of its run."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from erc.persistence.card import write_card
from erc.persistence.info import ArtefactInfo

_SUMMARY = (
    "Labels every turn of a conversation with one of seven emotions, from the turn, the turns before it and what its speaker said and "
    "felt before. It sees the past only. The shared utterance classifier {utterance} gives its memory."
)


def emonet_card(info: ArtefactInfo, metrics: Mapping[str, Any], policies: Mapping[str, Any]) -> str:
    """The card of a finished run."""
    dev = metrics["dev"]
    scores, subsets, calibration = dev["scores"], dev["subsets"], dev["calibration"]
    interval = scores["intervals"]["weighted_f1"]
    figures = [
        (
            "weighted F1",
            f"{scores['weighted']['f1']:.3f} (95% interval over dialogues {interval['low']:.3f} to {interval['high']:.3f})",
        ),
        ("macro F1", f"{scores['macro']['f1']:.3f}"),
        ("accuracy", f"{scores['accuracy']:.3f}"),
        ("accuracy before compression", f"{metrics['compression']['accuracy_full']:.3f}"),
        ("weights", f"{metrics['compression']['bytes'] / 1e6:.1f} MB"),
        ("seed", str(info.config["optim"]["seed"])),
    ]
    figures += [
        (f"weighted F1, {name.replace('_', ' ')}", f"{found['weighted']['f1']:.3f}")
        for name, found in subsets.items()
        if found is not None
    ]
    figures.append(
        ("calibration error of the top label, cross-fitted", f"{calibration['cross_fitted']['top_ece']:.3f}")
    )
    for mode in metrics["monte_carlo"]["figures"]:
        figures.append(
            (
                f"AURC of total entropy against 0/1 error, `{mode['mode']}`, N = {mode['samples']}",
                f"{mode['aurc']:.4f}",
            )
        )
    summary = _SUMMARY.format(utterance=f"`{info.reads['utterance_model']}`")
    return write_card(
        info,
        metrics,
        summary=summary,
        figures=figures,
        per_label=_per_class(scores["per_class"]),
        policy=policies,
    )


def _per_class(rows: list[Mapping[str, Any]]) -> str:
    lines = ["| emotion | precision | recall | F1 | support |", "| --- | --- | --- | --- | --- |"]
    lines += [
        f"| {r['label']} | {r['precision']:.3f} | {r['recall']:.3f} | {r['f1']:.3f} | {r['support']} |"
        for r in rows
    ]
    return "\n".join(lines)
