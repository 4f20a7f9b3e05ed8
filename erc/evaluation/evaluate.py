"""Evaluates a model on gold labels: one report, and the arrays that its figures show.

Shapes: U labelled turns, C labels of the data's emotion set.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from erc.emotions import load_emotion_map, load_emotion_set
from erc.errors import InputError
from erc.evaluation.candidates import Candidate, ModelOutput, of_artefact
from erc.evaluation.labelled_data import GoldData
from erc.inference.scorers.settings import InferenceSettings
from erc.metrics.bootstrap import f1_intervals
from erc.metrics.calibration import multilabel_calibration
from erc.metrics.reports import multilabel_report, singlelabel_report
from erc.metrics.scores import multilabel_scores
from erc.metrics.subsets import (
    dialogue_ids,
    first_in_conversation,
    first_of_speaker,
    known_speakers,
    position_buckets,
)
from erc.persistence.artefact import Artefact
from erc.uncertainty.decomposition import Uncertainty, binary_entropy, categorical_entropy

FOLDS = 5
_FEWEST_DIALOGUES = 2 * FOLDS  # With fewer dialogues, too few remain for a fit outside a fold.


@dataclass(frozen=True, slots=True, eq=False)
class Evaluation:
    """A JSON-able report and the data behind it.

    Attributes:
        report: The report.
        belief: The model's output on the labelled turns.
        targets: Multi-hot labels (U, C).
        groups: Dialogue ids (U,) from which folds are made, or None.
    """

    report: dict[str, Any]
    belief: ModelOutput
    targets: np.ndarray
    groups: np.ndarray | None

    @property
    def entropy(self) -> np.ndarray:
        """Entropy (U,) in nats of the deterministic pass, summed over independent labels."""
        probabilities = self.belief.probabilities
        multi_label = self.report["task"] == "multi-label"
        return (
            binary_entropy(probabilities).sum(axis=1) if multi_label else categorical_entropy(probabilities)
        )


def evaluate(
    model: Artefact | Candidate,
    data: GoldData,
    *,
    settings: InferenceSettings | None = None,
    resamples: int = 2_000,
    seed: int = 0,
) -> Evaluation:
    """Scores every turn of `data` and reports on the labelled ones.

    For the model's own multi-label set the report is that of `multilabel_report`, with the shipped calibrator
    and thresholds as `shipped`. For exclusive labels it is that of `singlelabel_report` on mapped
    probabilities.

    Args:
        model: An artefact, or a candidate.
        data: Labelled data.
        settings: How to compute.
        resamples: Bootstrap resamples.
        seed: Seed of the bootstrap.

    Raises:
        ArtefactError: Models of this kind cannot be evaluated.
        ConfigError: No map leads to the data's emotion set.
        InputError: A label is unknown, or too few turns are labelled.
    """
    settings = settings or InferenceSettings()
    targets, labelled = data.targets()
    if labelled.sum() < FOLDS:
        raise InputError(
            f"{labelled.sum()} labelled turns: at least {FOLDS} are needed for cross-fitting",
            path=data.source,
        )
    candidate = of_artefact(model) if isinstance(model, Artefact) else model
    belief = _rows(candidate.believe(data, settings), labelled)
    targets = targets[labelled]
    groups = _groups(data, labelled)
    shared: dict[str, Any] = {
        "labels": data.emotions.labels,
        "groups": groups,
        "mc": belief.mc,
        "folds": FOLDS,
        "resamples": resamples,
        "seed": seed,
    }
    if data.emotions.multi_label:
        assert belief.logits is not None  # no map leads to a multi-label set
        body = multilabel_report(belief.logits, targets, **shared)
        body["shipped"] = _shipped(candidate, belief, targets, data, groups, resamples=resamples, seed=seed)
    else:
        body = singlelabel_report(
            belief.probabilities,
            targets.argmax(axis=1),
            subsets=_subsets(candidate, data, labelled),
            **shared,
        )
    seen = seen_in_training(candidate, data)
    asked = belief.asked or candidate.emotion_set
    head = {
        "model": {
            "name": candidate.identity,
            "kind": candidate.kind,
            "emotion_set": asked,
            "sha256": candidate.sha256,
        },
        "evaluated_on": _described(data, labelled),
        "settings": {"precision": settings.precision, "seed": settings.seed, **belief.sampling},
        "map": _map_record(asked, data.emotions.name),
        "seen_in_training": seen,
        "notes": [*data.notes, *belief.notes, *_reading(seen, data)],
    }
    return Evaluation(report=head | body, belief=belief, targets=targets, groups=groups)


def seen_in_training(candidate: Candidate, data: GoldData) -> dict[str, Any] | None:
    """Which evaluated files the model was `trained` on or `tuned` on (checkpoint, calibrator, thresholds).

    Files are compared by checksum. None if no file is recorded with the model.
    """
    known = {sha256: name for name, sha256 in candidate.files.items()}
    files = sorted(known[sha256] for sha256 in data.files.values() if sha256 in known)
    if not files:
        return None
    train_split = candidate.config.get("data", {}).get("train_split", "train")
    return {"files": files, "as": "trained" if data.split == train_split else "tuned"}


def _rows(belief: ModelOutput, mask: np.ndarray) -> ModelOutput:
    mc = belief.mc and Uncertainty(
        belief.mc.total[mask], belief.mc.aleatoric[mask], belief.mc.epistemic[mask]
    )
    logits = None if belief.logits is None else belief.logits[mask]
    return replace(belief, probabilities=belief.probabilities[mask], logits=logits, mc=mc)


def _subsets(candidate: Candidate, data: GoldData, labelled: np.ndarray) -> dict[str, np.ndarray]:
    """Named masks over labelled turns: first of speaker or conversation, position, known speaker."""
    talks = data.conversations
    first = first_of_speaker(talks)
    masks = {
        "first_of_speaker": first,
        "later_of_speaker": ~first,
        "first_in_conversation": first_in_conversation(talks),
    }
    masks |= {f"position_{place}": mask for place, mask in position_buckets(talks).items()}
    if candidate.speakers is not None:
        known = known_speakers(talks, candidate.speakers)
        masks |= {"known_speaker": known, "unknown_speaker": ~known}
    return {name: np.asarray(mask)[labelled] for name, mask in masks.items()}


def _groups(data: GoldData, labelled: np.ndarray) -> np.ndarray | None:
    """Dialogue ids of labelled turns; None if each dialogue is one turn, or there are too few."""
    groups = dialogue_ids(data.conversations)[labelled]
    count = len(np.unique(groups))
    return None if count == len(groups) or count < _FEWEST_DIALOGUES else groups


def _shipped(
    candidate: Candidate,
    belief: ModelOutput,
    targets: np.ndarray,
    data: GoldData,
    groups: np.ndarray | None,
    *,
    resamples: int,
    seed: int,
) -> dict[str, Any] | None:
    """Scores under the calibrator and thresholds stored with the model; None without thresholds."""
    thresholds, labels = candidate.thresholds, data.emotions.labels
    if thresholds is None:
        return None
    decisions = thresholds.decide(belief.probabilities)
    scores = multilabel_scores(decisions, targets, labels=labels, thresholds=thresholds.values)
    intervals = f1_intervals(decisions, targets, groups=groups, resamples=resamples, seed=seed)
    return {
        "in_sample": seen_in_training(candidate, data) is not None,
        **scores.to_dict(),
        "intervals": {f"{name}_f1": interval.to_dict() for name, interval in intervals.items()},
        "calibration": multilabel_calibration(belief.probabilities, targets, labels=labels).to_dict(),
    }


def _described(data: GoldData, labelled: np.ndarray) -> dict[str, Any]:
    return {
        "name": data.name,
        "split": data.split,
        "edition": data.edition,
        "emotion_set": data.emotions.name,
        "files": data.files,
        "conversations": len(data.conversations),
        "turns": len(labelled),
        "labelled_turns": int(labelled.sum()),
    }


def _map_record(source: str, target: str) -> dict[str, Any] | None:
    """How the model's labels were mapped to those of the data; None if they are the same."""
    if load_emotion_set(source).labels == load_emotion_set(target).labels:
        return None
    used = load_emotion_map(source, target)
    return {"source": source, "target": target} | {
        name: getattr(used, name) for name in ("provenance", "lossy", "notes")
    }


def _reading(seen: dict[str, Any] | None, data: GoldData) -> list[str]:
    """Notes on how to read the figures."""
    if seen is None:
        return []
    files = ", ".join(seen["files"])
    if seen["as"] == "trained":
        return [f"the model was trained on {files}: no figure here says how well it does on new text"]
    if not data.emotions.multi_label:
        return [f"checkpoint and calibrator were chosen on {files}: these figures are in-sample"]
    return [
        f"checkpoint, calibrator and thresholds were chosen on {files}: figures under the shipped "
        "thresholds are in-sample, "
        "the cross-fitted ones are the honest ones"
    ]
