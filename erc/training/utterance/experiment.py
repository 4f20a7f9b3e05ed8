"""Trains the utterance classifier from its configuration."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np
import torch

from erc.config import ExperimentConfig
from erc.data.corpora import Corpus
from erc.emotions import load_emotion_set
from erc.models.encoder.encoder import load_encoder, load_tokenizer
from erc.models.utterance import UtteranceClassifier
from erc.training.inputs import load_splits
from erc.training.loop.distributed import on_main
from erc.training.loop.losses import as_tensor, emcoder_weights
from erc.training.loop.settings import optim_settings
from erc.training.loop.trainer import train
from erc.training.provenance import begin_from, corpora_provenance, model_provenance
from erc.training.utterance.distillation import with_teachers
from erc.training.utterance.finish import finish_utterance
from erc.training.utterance.task import LabelledText, UtteranceTask, labelled_texts, pad_id

__all__ = ["build_classifier", "finish_utterance", "pad_id", "positive_weights", "run_utterance"]


def run_utterance(
    config: ExperimentConfig,
    run_dir: Path,
    *,
    resume: bool,
    progress: bool,
    splits: tuple[Corpus, Corpus] | None = None,
) -> Path:
    """Trains, compresses, calibrates and saves a classifier; see `run_experiment`.

    `splits` are the training and the dev split if they differ from those of `config.data`.

    Raises:
        ConfigError: If a resumed run was started with other inputs.
        ArtefactError: If the model cannot be saved.
        InputError: If a corpus cannot be read.
    """
    corpora = load_splits(config) if splits is None else splits
    origin = corpora_provenance(corpora) | {
        "base encoder": model_provenance(config.backbone.name, config.backbone.revision)
    }
    on_main(lambda: begin_from(run_dir, origin, resume=resume))
    emotions = load_emotion_set(corpora[0].emotion_set)
    tokenizer = load_tokenizer(config.backbone.name, revision=config.backbone.revision)
    examples, held = (
        labelled_texts(corpus, emotions, tokenizer, max_tokens=config.data.max_tokens) for corpus in corpora
    )
    optim, pad = optim_settings(config), pad_id(tokenizer)
    task_of = partial(
        UtteranceTask,
        dev=held,
        labels=emotions.labels,
        pad_id=pad,
        positive_weights=positive_weights(config, examples),
        precision=config.optim.precision,
    )
    task = task_of(train=examples)
    if config.distillation is not None:
        examples = with_teachers(
            examples,
            task,
            build=lambda seed: build_classifier(config, len(emotions), seed=seed),
            settings=config.distillation,
            optim=optim,
            pad_id=pad,
            run_dir=run_dir,
            resume=resume,
            progress=progress,
        )
        task = task_of(train=examples, soft_share=config.distillation.soft_share)
    network = build_classifier(config, len(emotions))
    figures = train(model=network, task=task, optim=optim, run_dir=run_dir, resume=resume, progress=progress)
    return on_main(
        lambda: finish_utterance(config, run_dir, network, tokenizer, corpora, held, emotions, figures)
    )


def build_classifier(
    config: ExperimentConfig, emotions: int, *, seed: int | None = None
) -> UtteranceClassifier:
    """The network of a configuration over its pretrained encoder; new weights depend on `seed` alone.

    `seed` None takes `config.optim.seed`.
    """
    torch.manual_seed(config.optim.seed if seed is None else seed)
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


def positive_weights(config: ExperimentConfig, examples: Sequence[LabelledText]) -> torch.Tensor | None:
    """Weights (C,) of the positives of each label, or None where all weights are 1."""
    if config.loss.class_weights != "emcoder":
        return None
    positives = np.stack([example.targets for example in examples]).sum(axis=0)
    return as_tensor(emcoder_weights(positives, len(examples)))
