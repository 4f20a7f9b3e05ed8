"""Turns a trained utterance classifier into a model folder: compresses, calibrates and fits the policies."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from transformers import PreTrainedTokenizerBase

from erc.config import ExperimentConfig
from erc.data.corpora import Corpus, corpus_spec
from erc.emotions import EmotionSet, load_emotion_map
from erc.metrics.reports import multilabel_report
from erc.models.utterance import UtteranceClassifier
from erc.persistence.artefact import base_weights, installed_versions, save_artefact
from erc.persistence.info import ArtefactInfo
from erc.persistence.layout import write_json
from erc.training.post_fit import choose_mode, compress_in_place, fit_policy, sampled_entropy
from erc.training.utterance.card import utterance_card
from erc.training.utterance.task import LabelledText, pad_id, predict_logits
from erc.uncertainty.calibration import load_calibrator
from erc.uncertainty.counts import f1, label_counts
from erc.uncertainty.crossfit import CrossFitted, cross_fitted
from erc.uncertainty.losses import hamming_loss

REPORTED_SETS = ("goemotions", "ekman", "sentiment")
"""Emotion sets that the classifier can report in; each has its own decision policy."""


def finish_utterance(
    config: ExperimentConfig,
    run_dir: Path,
    network: UtteranceClassifier,
    tokenizer: PreTrainedTokenizerBase,
    corpora: tuple[Corpus, Corpus],
    held: list[LabelledText],
    emotions: EmotionSet,
    figures: dict[str, float],
    *,
    shelf: Path | None = None,
) -> Path:
    """Compresses the trained network, fits the rest of the model on dev, and saves the model folder.

    The calibrator, the thresholds and the policies are fitted on the outputs of the compressed network.

    Args:
        config: The experiment.
        run_dir: The run folder; its `report.json` gets every figure.
        network: The trained network, changed in place.
        tokenizer: The tokenizer of its encoder.
        corpora: The training and the dev split.
        held: The examples of the dev split.
        emotions: The labels of the network.
        figures: Dev figures of the chosen checkpoint.
        shelf: The folder for the model folder; None takes `run_dir`.

    Returns:
        The model folder.

    Raises:
        ArtefactError: For weights that are not finite, or a base encoder without local weights.
        NoDropoutError: For a network without dropout.
    """
    texts = [example.input_ids for example in held]
    targets = np.stack([example.targets for example in held])
    precision, pad = config.optim.precision, pad_id(tokenizer)
    info = _info(config, emotions, corpora)
    full = predict_logits(network, texts, pad_id=pad, precision=precision)
    stored_bytes = compress_in_place(network, base_weights(info, network), config.artefact.delta)
    logits = predict_logits(network, texts, pad_id=pad, precision=precision)
    report = multilabel_report(logits, targets, labels=emotions.labels)
    calibrator = load_calibrator(report["fitted"]["calibrator"])
    folds = cross_fitted(logits, targets)
    settings: dict[str, Any] = {
        "samples": config.uncertainty.samples,
        "pad_id": pad,
        "precision": precision,
        "top_k": config.uncertainty.top_k,
    }
    choice = choose_mode(
        lambda mode: sampled_entropy(network, texts, calibrator, mode=mode, **settings),
        hamming_loss(folds.decisions, targets > 0.5),
        samples=config.uncertainty.samples,
    )
    write_json(run_dir / "report.json", report)
    info = _info(config, emotions, corpora, mode=choice.mode)
    metrics = {
        "split": f"{corpora[1].name} {corpora[1].split}",
        "training": figures,
        "compression": {
            "delta": config.artefact.delta,
            "bytes": stored_bytes,
            "macro_f1_full": _cross_fitted_macro(full, targets),
            "macro_f1_compressed": report["tuned"]["cross_fitted"]["macro"]["f1"],
        },
        "monte_carlo": choice.to_dict(),
        "dev": {key: report[key] for key in ("data", "protocol", "at_half", "tuned")},
    }
    policies = _policies(folds, targets, emotions)
    return save_artefact(
        (shelf or run_dir) / config.name,
        info=info,
        network=network,
        tokenizer=tokenizer,
        calibrator=calibrator.to_dict(),
        thresholds=report["fitted"]["thresholds"],
        policy=policies,
        metrics=metrics,
        card=utterance_card(info, metrics, policies),
    )


def _cross_fitted_macro(logits: np.ndarray, targets: np.ndarray) -> float:
    decisions = cross_fitted(logits, targets).decisions
    return float(f1(*label_counts(decisions, targets > 0.5)).mean())


def _policies(folds: CrossFitted, targets: np.ndarray, emotions: EmotionSet) -> dict[str, Any]:
    """A policy per reported set; a prediction is right if it is among the gold labels mapped to that set."""
    policies = {}
    for name in REPORTED_SETS:
        emotion_map = load_emotion_map(emotions.name, name)
        probabilities, gold = emotion_map.apply(folds.probabilities), emotion_map.apply(targets) > 0.5
        best = probabilities.argmax(axis=1)
        rows = np.arange(len(best))
        policies[name] = fit_policy(probabilities[rows, best], ~gold[rows, best]).to_dict()
    return policies


def _info(
    config: ExperimentConfig, emotions: EmotionSet, corpora: tuple[Corpus, Corpus], mode: str | None = None
) -> ArtefactInfo:
    return ArtefactInfo(
        kind="utterance",
        name=config.name,
        emotion_set=emotions.name,
        labels=emotions.labels,
        base=config.backbone.name,
        architecture={
            "pooling": config.head.pooling,
            "head_hidden": config.head.hidden,
            "dropout": config.head.dropout,
        },
        delta=config.artefact.delta,
        hidden_dropout=config.backbone.hidden_dropout,
        max_tokens=config.data.max_tokens,
        uncertainty={
            "mode": mode or config.uncertainty.mode,
            "samples": config.uncertainty.samples,
            "top_k": config.uncertainty.top_k,
        },
        config=config.model_dump(mode="json"),
        data={f"{corpus.name}/{file.name}": file.sha256 for corpus in corpora for file in corpus.files},
        licences=(corpus_spec(config.data.corpus).licence,),
        versions=installed_versions(),
    )
