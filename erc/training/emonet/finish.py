"""Fits the rest of a trained conversation model on dev, and saves its artefact.

Shapes: U labelled dev turns, C emotions.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from erc.config import ExperimentConfig
from erc.data import Conversation
from erc.data.corpora import corpus_spec
from erc.emotions import EmotionSet, load_emotion_map
from erc.errors import ConfigError
from erc.metrics.reports import singlelabel_report
from erc.metrics.subsets import dialogue_ids, first_in_conversation, first_of_speaker
from erc.models.emonet.network import EmoNet
from erc.models.turn_batch import NO_LABEL
from erc.persistence.artefact import base_weights, installed_versions, save_artefact
from erc.persistence.info import ArtefactInfo
from erc.persistence.layout import write_json
from erc.training.emonet.assembly import emonet_reads
from erc.training.emonet.card import emonet_card
from erc.training.emonet.ingredients import Ingredients
from erc.training.emonet.settings import emonet_settings
from erc.training.emonet.task import EmoNetTask, gold_classes, labelled, predict_turns, sampled_turn_entropy
from erc.training.post_fit import McChoice, choose_mode, compress_in_place, fit_policy
from erc.uncertainty.calibration import Temperature
from erc.uncertainty.crossfit import CrossFitted, cross_fitted_classes


def finish_emonet(
    config: ExperimentConfig,
    run_dir: Path,
    network: EmoNet,
    task: EmoNetTask,
    parts: Ingredients,
    figures: dict[str, float],
    *,
    shelf: Path | None = None,
) -> Path:
    """Compress the trained network, fit calibrator and policies on its dev outputs, and save the artefact.

    Args:
        config: The experiment.
        run_dir: Folder of the run; `report.json` in it receives every figure.
        network: The trained network; it is left compressed.
        task: Its task.
        parts: What it was trained from.
        figures: Dev figures of the chosen checkpoint.
        shelf: Folder that receives the artefact's folder; None for `run_dir`.

    Returns:
        The artefact's folder.

    Raises:
        ArtefactError: For weights that are not finite, a base encoder without local weights, or a folder with
            other content.
        NoDropoutError: For a network without dropout.
        ValueError: If no dev turn has a label.
    """
    folder = (shelf or run_dir) / config.name
    predict = partial(predict_turns, network, task.dev_builder, task.dev, precision=config.optim.precision)
    full, labels = labelled(np.concatenate(predict()), task.dev)
    stored_bytes = compress_in_place(
        network, base_weights(_info(config, parts, folder), network), config.artefact.delta
    )
    logits, labels = labelled(np.concatenate(predict()), task.dev)
    keep = gold_classes(task.dev) != NO_LABEL
    groups = np.asarray(dialogue_ids(parts.dev.conversations))[keep]
    calibrator = Temperature.fit(logits, labels)
    choice = _sampling(config, network, task, calibrator, logits.argmax(axis=1) != labels)
    report = singlelabel_report(
        calibrator(logits),
        labels,
        labels=parts.emotions.labels,
        groups=groups,
        subsets=_subsets(parts.dev.conversations, keep),
        resamples=1_000,
    )
    write_json(run_dir / "report.json", report)
    metrics = {
        "split": f"{parts.dev.name} {parts.dev.split}",
        "training": figures,
        "compression": {
            "delta": config.artefact.delta,
            "bytes": stored_bytes,
            "accuracy_full": float((full.argmax(axis=1) == labels).mean()),
        },
        "monte_carlo": choice.to_dict(),
        "dev": {key: report[key] for key in ("data", "protocol", "scores", "subsets", "calibration")},
    }
    folds = cross_fitted_classes(logits, labels, groups=groups)
    policies = _policies(folds, labels, groups, parts.emotions)
    info = _info(config, parts, folder, mode=choice.mode)
    return save_artefact(
        folder,
        info=info,
        network=network,
        tokenizer=parts.tokenizer,
        calibrator=calibrator.to_dict(),
        thresholds=parts.shared.thresholds if parts.shared is not None else None,
        policy=policies,
        metrics=metrics,
        card=emonet_card(info, metrics, policies),
    )


def _sampling(
    config: ExperimentConfig, network: EmoNet, task: EmoNetTask, calibrator: Temperature, wrong: np.ndarray
) -> McChoice:
    """The cheapest Monte-Carlo mode that ranks the wrong turns (U,) about as well as sampling everything."""
    keep = gold_classes(task.dev) != NO_LABEL
    entropy = partial(
        sampled_turn_entropy,
        network,
        task.dev_builder,
        task.dev,
        calibrator,
        samples=config.uncertainty.samples,
        top_k=config.uncertainty.top_k,
        precision=config.optim.precision,
    )
    return choose_mode(
        lambda mode: entropy(mode=mode)[keep],
        wrong.astype(float),
        samples=config.uncertainty.samples,
        modes=network.sampling_modes,
    )


def _subsets(conversations: Sequence[Conversation], keep: np.ndarray) -> dict[str, np.ndarray]:
    first = first_of_speaker(conversations)
    named = {
        "first_of_speaker": first,
        "later_of_speaker": ~first,
        "first_in_conversation": first_in_conversation(conversations),
    }
    return {name: np.asarray(mask)[keep] for name, mask in named.items()}


def _policies(
    folds: CrossFitted, labels: np.ndarray, groups: np.ndarray, emotions: EmotionSet
) -> dict[str, Any]:
    """A policy for each emotion set the model can report in, calibrated over dialogues."""
    policies = {}
    for name in (emotions.name, "ekman", "sentiment"):
        try:
            emotion_map = load_emotion_map(emotions.name, name)
        except ConfigError:
            continue
        probabilities = emotion_map.apply(folds.probabilities)
        gold = emotion_map.apply(np.eye(len(emotions))[labels])
        best = probabilities.argmax(axis=1)
        rows = np.arange(len(best))
        policies[name] = fit_policy(
            probabilities[rows, best], gold[rows, best] < 0.5, groups=groups
        ).to_dict()
    return policies


def _info(
    config: ExperimentConfig, parts: Ingredients, folder: Path, mode: str | None = None
) -> ArtefactInfo:
    """The description of the artefact; `mode` is the chosen Monte-Carlo mode, None before it is chosen."""
    inherited = () if parts.shared is None else parts.shared.info.licences
    return ArtefactInfo(
        kind="emonet",
        name=config.name,
        emotion_set=parts.emotions.name,
        labels=parts.emotions.labels,
        base=config.backbone.name,
        architecture=asdict(emonet_settings(config, **parts.widths)),  # type: ignore[arg-type]
        delta=config.artefact.delta,
        hidden_dropout=config.backbone.hidden_dropout,
        max_tokens=config.data.max_tokens,
        uncertainty={
            "mode": mode or config.uncertainty.mode,
            "samples": config.uncertainty.samples,
            "top_k": config.uncertainty.top_k,
        },
        config=config.model_dump(mode="json"),
        data={
            f"{corpus.name}/{file.name}": file.sha256
            for corpus in (parts.train, parts.dev)
            for file in corpus.files
        },
        licences=(corpus_spec(config.data.corpus).licence, *inherited),
        reads=emonet_reads(config, parts, folder=folder).to_dict(),
        versions=installed_versions(),
    )
