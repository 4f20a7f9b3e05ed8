"""Training the shared utterance classifier from its configuration, and fitting on dev what ships with it."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy.special import expit
from sklearn.metrics import f1_score
from transformers import PreTrainedTokenizerBase

from erc.config import ExperimentConfig
from erc.data.corpora import Corpus
from erc.emotions import EmotionSet, load_emotion_map, load_emotion_set
from erc.metrics.reports import multilabel_report
from erc.models.encoder.encoder import load_encoder, load_tokenizer
from erc.models.utterance import UtteranceClassifier
from erc.persistence.artefact import base_weights, installed_versions, save_artefact
from erc.persistence.info import ArtefactInfo
from erc.persistence.layout import write_json
from erc.training.inputs import load_splits
from erc.training.loop.distributed import on_main
from erc.training.loop.losses import as_tensor, emcoder_weights
from erc.training.loop.settings import optim_settings
from erc.training.loop.trainer import train
from erc.training.post_fit import choose_mode, compress_in_place, fit_policy, sampled_entropy
from erc.training.provenance import begin_from, corpora_provenance, model_provenance
from erc.training.utterance.card import utterance_card
from erc.training.utterance.task import LabelledText, UtteranceTask, labelled_texts, predict_logits
from erc.uncertainty.calibration import load_calibrator
from erc.uncertainty.crossfit import CrossFitted, cross_fitted
from erc.uncertainty.losses import hamming_loss

REPORTED_SETS = ("goemotions", "ekman", "sentiment")
"""Emotion sets a user can have the classifier report in; each has its own decision policy."""
_LICENCES = {"goemotions": ("GoEmotions: Apache-2.0 code, CC BY 4.0 data",)}


def run_utterance(
    config: ExperimentConfig,
    run_dir: Path,
    *,
    resume: bool,
    progress: bool,
    splits: tuple[Corpus, Corpus] | None = None,
) -> Path:
    """Trains, compresses, calibrates and saves; see `run_experiment`. `splits` are train and dev where they are less than `config.data` names."""
    train_split, dev_split = load_splits(config) if splits is None else splits
    origin = corpora_provenance((train_split, dev_split)) | {
        "base encoder": model_provenance(config.backbone.name, config.backbone.revision)
    }
    on_main(lambda: begin_from(run_dir, origin, resume=resume))
    emotions = load_emotion_set(train_split.emotion_set)
    tokenizer = load_tokenizer(config.backbone.name, revision=config.backbone.revision)
    examples, held = (
        labelled_texts(corpus, emotions, tokenizer, max_tokens=config.data.max_tokens)
        for corpus in (train_split, dev_split)
    )
    weights, soft_share = positive_weights(config, examples), 0.0
    if config.distillation is not None:
        soft_share = config.distillation.soft_share
        examples = softened(
            config,
            examples,
            held,
            tokenizer,
            weights,
            len(emotions),
            run_dir,
            resume=resume,
            progress=progress,
        )
    network = build_classifier(config, len(emotions))
    task = UtteranceTask(
        train=examples,
        dev=held,
        pad_id=pad_id(tokenizer),
        positive_weights=weights,
        precision=config.optim.precision,
        soft_share=soft_share,
    )
    figures = train(
        model=network,
        task=task,
        optim=optim_settings(config),
        run_dir=run_dir,
        resume=resume,
        progress=progress,
    )
    return on_main(
        lambda: finish_utterance(
            config, run_dir, network, tokenizer, (train_split, dev_split), held, emotions, figures
        )
    )


def softened(
    config: ExperimentConfig,
    examples: list[LabelledText],
    held: list[LabelledText],
    tokenizer: PreTrainedTokenizerBase,
    weights: torch.Tensor | None,
    emotions: int,
    run_dir: Path,
    *,
    resume: bool,
    progress: bool,
) -> list[LabelledText]:
    """The training examples with the mean probabilities of freshly trained teachers.

    Teacher k is the same network under seed + k, stopped at its best dev evaluation, in `run_dir /
    teacher-k`; a finished one is not trained again.
    """
    assert config.distillation is not None
    total = np.zeros((len(examples), emotions), dtype=np.float64)
    for number in range(1, config.distillation.teachers + 1):
        optim = dataclasses.replace(
            optim_settings(config), seed=config.optim.seed + number, epochs=config.distillation.teacher_epochs
        )
        teacher_config = config.model_copy(
            update={"optim": config.optim.model_copy(update={"seed": optim.seed})}
        )
        teacher = build_classifier(teacher_config, emotions)
        task = UtteranceTask(
            train=examples,
            dev=held,
            pad_id=pad_id(tokenizer),
            positive_weights=weights,
            precision=optim.precision,
        )
        train(
            model=teacher,
            task=task,
            optim=optim,
            run_dir=run_dir / f"teacher-{number}",
            resume=resume,
            progress=progress,
        )
        texts = [example.input_ids for example in examples]
        total += expit(predict_logits(teacher, texts, pad_id=pad_id(tokenizer), precision=optim.precision))
    mean = (total / config.distillation.teachers).astype(np.float32)
    return [dataclasses.replace(example, soft=row) for example, row in zip(examples, mean, strict=True)]


def build_classifier(config: ExperimentConfig, emotions: int) -> UtteranceClassifier:
    """The network of a configuration, seeded, over its pretrained encoder."""
    torch.manual_seed(config.optim.seed)
    encoder = load_encoder(
        config.backbone.name,
        revision=config.backbone.revision,
        hidden_dropout=config.backbone.hidden_dropout,
        attention=config.backbone.attention,
    )
    encoder.word_embeddings.weight.requires_grad_(not config.backbone.freeze_word_embeddings)
    head = config.head
    return UtteranceClassifier(
        encoder=encoder,
        emotions=emotions,
        pooling=head.pooling,
        head_hidden=head.hidden,
        dropout=head.dropout,
    )


def pad_id(tokenizer: PreTrainedTokenizerBase) -> int:
    """The padding id, 0 for tokenizers without one."""
    return int(tokenizer.pad_token_id or 0)


def positive_weights(config: ExperimentConfig, examples: Sequence[LabelledText]) -> torch.Tensor | None:
    """Weights (C,) of each label's positives, or None where all weigh alike."""
    if config.loss.class_weights != "emcoder":
        return None
    positives = np.stack([example.targets for example in examples]).sum(axis=0)
    return as_tensor(emcoder_weights(positives, len(examples)))


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
    """Compresses the trained network, fits calibrator, thresholds and policies on its dev outputs, and saves the artefact.

    `run_dir / report.json` receives every figure, the artefact, in `shelf` (None: in `run_dir`), the ones its
    card shows.
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
    drawn: dict[str, Any] = {
        "samples": config.uncertainty.samples,
        "pad_id": pad,
        "precision": precision,
        "top_k": config.uncertainty.top_k,
    }
    choice = choose_mode(
        lambda mode: sampled_entropy(network, texts, calibrator, mode=mode, **drawn),
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
    return float(f1_score(targets, decisions, average="macro", zero_division=0))


def _policies(folds: CrossFitted, targets: np.ndarray, emotions: EmotionSet) -> dict[str, Any]:
    """A policy for each set the classifier can report in; an emotion is right where it is among the gold ones, mapped alike."""
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
        licences=_LICENCES.get(config.data.corpus, ()),
        versions=installed_versions(),
    )
