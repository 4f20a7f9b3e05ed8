"""The network and the task of a conversation model's configuration."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from erc.config import ExperimentConfig
from erc.data import HistoryProvider
from erc.errors import ConfigError
from erc.models.emonet.build import build_emonet
from erc.models.emonet.network import EmoNet
from erc.models.emonet.reads import EmoNetReads
from erc.models.encoder.encoder import Encoder, load_encoder
from erc.models.speaker_embedding import SpeakerVocabulary
from erc.models.turn_builder import TurnBuilder
from erc.persistence.artefact import Artefact
from erc.persistence.loading import classifier_reference
from erc.resources import SHARED_MODEL
from erc.training.emonet.ingredients import Ingredients, classifier_of
from erc.training.emonet.settings import emonet_settings
from erc.training.emonet.task import EmoNetTask
from erc.training.loop.losses import as_tensor, class_weights


def build_network(config: ExperimentConfig, parts: Ingredients) -> EmoNet:
    """The network of a configuration, seeded; it starts from the shared classifier if there is one.

    Raises:
        ConfigError: If settings contradict each other or the encoder, or a part lacks its width.
        ArtefactError: If an encoder cannot be loaded, or the shared classifier has another one.
    """
    torch.manual_seed(config.optim.seed)
    settings = emonet_settings(config, **parts.widths)  # type: ignore[arg-type]
    second = _encoder(config) if settings.memory_encoder == "own" else None
    encoder = _shared_encoder(config, parts.shared) if settings.encoder == "shared" else _encoder(config)
    try:
        network = build_emonet(settings, encoder=encoder, emotions=len(parts.emotions), memory_encoder=second)
    except ValueError as error:  # widths that only the encoder knows
        raise ConfigError(f"experiment '{config.name}': {error}") from error
    if parts.shared is not None:
        network.init_from(classifier_of(parts.shared))
    return network


def _shared_encoder(config: ExperimentConfig, shared: Artefact | None) -> Encoder:
    """The encoder of the shared classifier, frozen. It must read turns as the classifier does."""
    if shared is None:
        raise ConfigError(
            "emonet.encoder 'shared' is the encoder of a shared classifier: name it with artefact.init_from"
        )
    classifier = classifier_of(shared)
    if (config.head.pooling, config.data.max_tokens) != (classifier.pooling, shared.info.max_tokens):
        expected = f"head.pooling={classifier.pooling} and data.max_tokens={shared.info.max_tokens}"
        raise ConfigError(f"emonet.encoder 'shared': {shared.info.identity} reads turns with {expected}")
    return classifier.encoder.requires_grad_(False)


def _encoder(config: ExperimentConfig) -> Encoder:
    backbone = config.backbone
    encoder = load_encoder(
        backbone.name,
        revision=backbone.revision,
        hidden_dropout=backbone.hidden_dropout,
        attention=backbone.attention,
    )
    encoder.word_embeddings.weight.requires_grad_(not backbone.freeze_word_embeddings)
    return encoder


def emonet_reads(config: ExperimentConfig, parts: Ingredients, *, folder: Path | None = None) -> EmoNetReads:
    """What the model of a configuration reads, as it is trained and as its artefact stores it.

    `folder` is that of the artefact, from which the shared classifier is found again.
    """
    emonet, shared = config.emonet, parts.shared
    assert emonet is not None
    trained = SpeakerVocabulary.from_conversations(parts.train.conversations, corpus=config.data.corpus)
    classifier: dict[str, Any] = {"utterance_model": SHARED_MODEL}
    if shared is not None:
        classifier = classifier_reference(shared, folder or shared.folder.parent / config.name)
        classifier["utterance_paths"] = tuple(classifier.get("utterance_paths", ()))
    return EmoNetReads(
        **classifier,
        memory_encoder=emonet.memory_encoder,
        history=emonet.history,
        history_limit=0 if emonet.memory_encoder == "none" else emonet.history_limit,
        embedding_width=parts.widths["embedding_width"],
        observed_labels=parts.widths["observed_labels"],
        bio=emonet.bio,
        speaker_text=emonet.speaker_text,
        separators=emonet.separators,
        speaker_corpus=config.data.corpus,
        speakers=None if parts.speakers is None else parts.speakers.names,
        trained_speakers=trained.names,
    )


def make_task(config: ExperimentConfig, parts: Ingredients) -> EmoNetTask:
    """The Trainer's task of a configuration.

    Raises:
        InputError: If a turn has a label that is not one of the model's.
        ValueError: If the memory reads observations and there are no features.
    """
    emonet, emotions = config.emonet, parts.emotions
    assert emonet is not None
    reads = emonet_reads(config, parts)

    def builder(history: HistoryProvider, *, hidden_speakers: float = 0.0) -> TurnBuilder:
        return reads.builder(
            tokenizer=parts.tokenizer,
            max_tokens=config.data.max_tokens,
            history=history,
            bios=parts.bios,
            labels=emotions.labels,
            hidden_speakers=hidden_speakers,
        )

    gold = [turn.emotions[0] for one in parts.train.conversations for turn in one if turn.emotions]
    counts = np.bincount([emotions.index(label) for label in gold], minlength=len(emotions))
    return EmoNetTask(
        train=parts.train.conversations,
        dev=parts.dev.conversations,
        builder=builder,
        train_builder=partial(builder, hidden_speakers=emonet.speaker_dropout)
        if emonet.speaker_text == "global_tag"
        else None,
        features=parts.features,
        history_features=parts.history_features,
        shared_encoder=emonet.encoder == "shared",
        history=emonet.history if reads.has_memory else "off",
        dev_sees_train=emonet.dev_sees_train,
        class_weights=as_tensor(class_weights(counts, config.loss.class_weights)),
        label_smoothing=config.loss.label_smoothing,
        precision=config.optim.precision,
        seed=config.optim.seed,
    )
