"""The model card of a conversation model."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from erc.models.emonet.reads import EmoNetReads
from erc.persistence.card import write_card
from erc.persistence.info import ArtefactInfo
from erc.training.post_fit import RISKS

_SUMMARY = (
    "Labels every turn of a conversation with one of seven emotions, from the turn, the turns before it and "
    "the past turns of its speaker. It reads no later turn. The shared utterance classifier is {utterance}."
)


def policy_note(policies: Mapping[str, Any]) -> str:
    """The limits of the error bounds of decision policies; empty if no policy has a bound."""
    if not any((policy.get("fitted") or {}).get("target") == "risk" for policy in policies.values()):
        return ""
    rates = ", ".join(f"{rate:.0%}" for rate in RISKS)
    return (
        "These bounds are optimistic for two reasons. They were fitted on the dev split that also chose the "
        f"checkpoint. And several error rates were tried ({rates}): each bound is the strictest that still "
        "accepts half of the turns. The stated probability holds for a single rate on data that chose "
        "nothing else. Measure the error on labelled conversations of your own."
    )


def emonet_card(info: ArtefactInfo, metrics: Mapping[str, Any], policies: Mapping[str, Any]) -> str:
    """The card of a finished run, in Markdown."""
    return write_card(
        info,
        metrics,
        summary=_SUMMARY.format(utterance=f"`{EmoNetReads.from_dict(info.reads).utterance_model}`"),
        figures=_figures(info, metrics),
        per_label=_per_class(metrics["dev"]["scores"]["per_class"]),
        policy=policies,
        policy_note=policy_note(policies),
    )


def _figures(info: ArtefactInfo, metrics: Mapping[str, Any]) -> list[tuple[str, str]]:
    dev = metrics["dev"]
    scores, calibration = dev["scores"], dev["calibration"]["cross_fitted"]
    interval = scores["intervals"]["weighted_f1"]
    bounds = f"95% interval over dialogues {interval['low']:.3f} to {interval['high']:.3f}"
    figures = [
        ("weighted F1", f"{scores['weighted']['f1']:.3f} ({bounds})"),
        ("macro F1", f"{scores['macro']['f1']:.3f}"),
        ("accuracy", f"{scores['accuracy']:.3f}"),
        ("accuracy before compression", f"{metrics['compression']['accuracy_full']:.3f}"),
        ("weights", f"{metrics['compression']['bytes'] / 1e6:.1f} MB"),
        ("seed", str(info.config["optim"]["seed"])),
    ]
    figures += [
        (f"weighted F1, {name.replace('_', ' ')}", f"{found['weighted']['f1']:.3f}")
        for name, found in dev["subsets"].items()
        if found is not None
    ]
    figures.append(("calibration error of the top label, cross-fitted", f"{calibration['top_ece']:.3f}"))
    for mode in metrics["monte_carlo"]["figures"]:
        name = f"AURC of total entropy against 0/1 error, `{mode['mode']}`, N = {mode['samples']}"
        figures.append((name, f"{mode['aurc']:.4f}"))
    return figures


def _per_class(rows: list[Mapping[str, Any]]) -> str:
    lines = ["| emotion | precision | recall | F1 | support |", "| --- | --- | --- | --- | --- |"]
    lines += [
        f"| {r['label']} | {r['precision']:.3f} | {r['recall']:.3f} | {r['f1']:.3f} | {r['support']} |"
        for r in rows
    ]
    return "\n".join(lines)
