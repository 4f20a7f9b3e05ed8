"""Training a conversation model from its configuration, and fitting on dev what ships with it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import PreTrainedTokenizerBase

from erc.config import ExperimentConfig
from erc.data import Conversation, HistoryProvider
from erc.data.corpora import Corpus
from erc.emotions import EmotionSet, load_emotion_map, load_emotion_set
from erc.errors import ConfigError
from erc.metrics.reports import singlelabel_report
from erc.metrics.subsets import dialogue_ids, first_in_conversation, first_of_speaker
from erc.models.emonet.build import build_emonet
from erc.models.emonet.network import EmoNet
from erc.models.encoder.encoder import Encoder, load_encoder, load_tokenizer
from erc.models.speaker_embedding import SpeakerVocabulary
from erc.models.turn_batch import NO_LABEL, BioProvider, TurnBuilder
from erc.models.utterance import UtteranceClassifier
from erc.persistence import find_model, load_artefact
from erc.persistence.artefact import Artefact, base_weights, installed_versions, save_artefact
from erc.persistence.info import ArtefactInfo
from erc.persistence.layout import write_json
from erc.persistence.loading import classifier_reference
from erc.resources import SHARED_MODEL
from erc.training.emonet.card import emonet_card
from erc.training.emonet.features import Features, corpus_features
from erc.training.emonet.settings import emonet_settings
from erc.training.emonet.task import EmoNetTask, predict_turns, sampled_turn_entropy
from erc.training.inputs import SupplyMaker, TrainingInputs, load_splits, no_supplies
from erc.training.loop.distributed import main_first, on_main
from erc.training.loop.losses import as_tensor, class_weights
from erc.training.loop.settings import optim_settings
from erc.training.loop.trainer import train
from erc.training.post_fit import choose_mode, compress_in_place, fit_policy
from erc.training.provenance import (
    Provenance,
    begin_from,
    corpora_provenance,
    inputs_provenance,
    model_provenance,
)
from erc.uncertainty.calibration import Temperature, load_calibrator
from erc.uncertainty.crossfit import CrossFitted, cross_fitted_classes

_LICENCES = {"meld": "MELD: GPL-3.0", "emorynlp": "EmoryNLP emotion detection: Apache-2.0"}


@dataclass(frozen=True, slots=True)
class Ingredients:
    """What a conversation model is trained from: two splits, the shared classifier, its features, the speakers of the corpus."""

    train: Corpus
    dev: Corpus
    emotions: EmotionSet
    tokenizer: PreTrainedTokenizerBase
    shared: Artefact | None
    features: Features | None
    speakers: SpeakerVocabulary | None
    bios: BioProvider | None = None
    bios_by: Mapping[str, Any] = field(default_factory=dict)
    """By what the bios were made."""

    @property
    def bio_width(self) -> int | None:
        """Width of a bio's vector: the shared classifier makes it."""
        if self.bios is None or self.shared is None:
            return None
        assert isinstance(self.shared.network, UtteranceClassifier)
        return self.shared.network.embedding_width


def run_emonet(
    config: ExperimentConfig,
    run_dir: Path,
    *,
    resume: bool,
    progress: bool,
    supplies: SupplyMaker = no_supplies,
) -> Path:
    """Trains, compresses, calibrates and saves; see `run_experiment`."""
    parts = main_first(lambda: gather(config, cache_dir=run_dir.parent / "features", supplies=supplies))
    on_main(lambda: begin_from(run_dir, _begun_from(config, parts), resume=resume))
    network = build_network(config, parts)
    task = make_task(config, parts)
    figures = train(
        model=network,
        task=task,
        optim=optim_settings(config),
        run_dir=run_dir,
        resume=resume,
        progress=progress,
    )
    return on_main(lambda: finish_emonet(config, run_dir, network, task, parts, figures))


def _begun_from(config: ExperimentConfig, parts: Ingredients) -> Provenance:
    """What a run hangs on beside its configuration."""
    return {
        **corpora_provenance((parts.train, parts.dev)),
        **inputs_provenance(parts.bios_by),
        "base encoder": model_provenance(config.backbone.name, config.backbone.revision),
        "shared classifier": None if parts.shared is None else parts.shared.sha256,
    }


def gather(
    config: ExperimentConfig, *, cache_dir: Path | None, supplies: SupplyMaker = no_supplies
) -> Ingredients:
    """Loads the splits and the shared classifier, and computes its features where the memory reads them."""
    emonet = config.emonet
    assert emonet is not None
    if emonet.bio != "none" and config.artefact.init_from is None:
        raise ConfigError(
            "emonet.bio reads bios as vectors of the shared classifier: name it with artefact.init_from"
        )
    splits = load_splits(config)
    supplied = supplies(*splits) if emonet.bio != "none" else TrainingInputs()
    if emonet.bio != "none" and supplied.bios is None:
        raise ConfigError(
            "emonet.bio needs bios of the corpus's speakers: train with `erc train`, or hand in supplies with a BioProvider"
        )
    shared = (
        None if config.artefact.init_from is None else load_artefact(find_model(config.artefact.init_from))
    )
    tokenizer = (
        load_tokenizer(config.backbone.name, revision=config.backbone.revision)
        if shared is None
        else shared.tokenizer
    )
    talks = [conversation for corpus in splits for conversation in corpus.conversations]
    features = None
    if "shared" in (emonet.memory_encoder, emonet.encoder) and shared is not None:
        assert isinstance(shared.network, UtteranceClassifier)
        features = corpus_features(
            shared.network,
            shared.tokenizer,
            talks,
            cache_dir=cache_dir,
            checksums=[file.sha256 for corpus in splits for file in corpus.files],
            calibrator=load_calibrator(shared.calibrator),
            max_tokens=shared.info.max_tokens,
            precision=config.optim.precision,
        )
    named = emonet.global_speakers or emonet.speaker_text == "global_tag"
    speakers = (
        SpeakerVocabulary.from_conversations(splits[0].conversations, corpus=config.data.corpus)
        if named
        else None
    )
    emotions = load_emotion_set(splits[0].emotion_set)
    return Ingredients(
        splits[0],
        splits[1],
        emotions,
        tokenizer,
        shared,
        features,
        speakers,
        supplied.bios,
        supplied.provenance,
    )


def build_network(config: ExperimentConfig, parts: Ingredients) -> EmoNet:
    """The network of a configuration, seeded; it starts from the shared classifier where there is one."""
    torch.manual_seed(config.optim.seed)
    width = None if parts.features is None else parts.features.width
    rows = 0 if parts.speakers is None else len(parts.speakers)
    settings = emonet_settings(config, observation_width=width, speaker_rows=rows, bio_width=parts.bio_width)
    second = _encoder(config) if settings.memory_encoder == "own" else None
    encoder = _shared_encoder(config, parts.shared) if settings.encoder == "shared" else _encoder(config)
    network = build_emonet(settings, encoder=encoder, emotions=len(parts.emotions), memory_encoder=second)
    if parts.shared is not None:
        assert isinstance(parts.shared.network, UtteranceClassifier)
        network.init_from(parts.shared.network)
    return network


def _shared_encoder(config: ExperimentConfig, shared: Artefact | None) -> Encoder:
    """The encoder of the shared classifier, not to be trained. Raises ConfigError where turns would be read otherwise than it reads them."""
    if shared is None:
        raise ConfigError(
            "emonet.encoder 'shared' is the encoder of a shared classifier: name it with artefact.init_from"
        )
    assert isinstance(shared.network, UtteranceClassifier)
    if (config.head.pooling, config.data.max_tokens) != (shared.network.pooling, shared.info.max_tokens):
        expected = f"head.pooling={shared.network.pooling} and data.max_tokens={shared.info.max_tokens}"
        raise ConfigError(f"emonet.encoder 'shared': {shared.info.identity} reads turns with {expected}")
    return shared.network.encoder.requires_grad_(False)


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


def make_task(config: ExperimentConfig, parts: Ingredients) -> EmoNetTask:
    """The Trainer's task of a configuration."""
    emonet = config.emonet
    assert emonet is not None
    emotions = parts.emotions

    def builder(history: HistoryProvider, *, hidden_speakers: float = 0.0) -> TurnBuilder:
        return TurnBuilder(
            tokenizer=parts.tokenizer,
            max_tokens=config.data.max_tokens,
            speaker_text=emonet.speaker_text,
            speakers=parts.speakers,
            history=None if emonet.memory_encoder == "none" else history,
            history_limit=emonet.history_limit,
            observation_width=None if parts.features is None else parts.features.width,
            memory_texts=emonet.memory_encoder == "own",
            bios=parts.bios,
            labels=emotions.labels,
            hidden_speakers=hidden_speakers,
        )

    golds = [turn.emotions[0] for talk in parts.train.conversations for turn in talk if turn.emotions]
    counts = np.bincount([emotions.index(gold) for gold in golds], minlength=len(emotions))
    return EmoNetTask(
        train=parts.train.conversations,
        dev=parts.dev.conversations,
        builder=builder,
        train_builder=partial(builder, hidden_speakers=emonet.speaker_dropout)
        if emonet.speaker_text == "global_tag"
        else None,
        features=parts.features,
        shared_encoder=emonet.encoder == "shared",
        history="off" if emonet.memory_encoder == "none" else emonet.history,
        dev_sees_train=emonet.dev_sees_train,
        class_weights=as_tensor(class_weights(counts, config.loss.class_weights)),
        label_smoothing=config.loss.label_smoothing,
        precision=config.optim.precision,
        seed=config.optim.seed,
    )


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
    """Compresses the trained network, fits calibrator and policies on its dev outputs, and saves the artefact.

    `run_dir / report.json` receives every figure, the artefact, in `shelf` (None: in `run_dir`), the ones its
    card shows.
    """
    folder = (shelf or run_dir) / config.name
    info = _info(config, parts, folder)
    precision = config.optim.precision
    full = _labelled(
        np.concatenate(predict_turns(network, task.dev_builder, task.dev, precision=precision)), task
    )
    stored_bytes = compress_in_place(network, base_weights(info, network), config.artefact.delta)
    every = np.concatenate(predict_turns(network, task.dev_builder, task.dev, precision=precision))
    logits, labels = _labelled(every, task)
    keep = _gold(task) != NO_LABEL
    talks = parts.dev.conversations
    groups = np.asarray(dialogue_ids(talks))[keep]
    calibrator = Temperature.fit(logits, labels)
    folds = cross_fitted_classes(logits, labels, groups=groups)
    drawn: dict[str, Any] = {
        "samples": config.uncertainty.samples,
        "top_k": config.uncertainty.top_k,
        "precision": precision,
    }
    choice = choose_mode(
        lambda mode: sampled_turn_entropy(
            network, task.dev_builder, task.dev, calibrator, mode=mode, **drawn
        )[keep],
        (logits.argmax(axis=1) != labels).astype(float),
        samples=config.uncertainty.samples,
    )
    report = singlelabel_report(
        calibrator(logits),
        labels,
        labels=parts.emotions.labels,
        groups=groups,
        subsets=_subsets(talks, keep),
        resamples=1_000,
    )
    write_json(run_dir / "report.json", report)
    info = _info(config, parts, folder, mode=choice.mode)
    metrics = {
        "split": f"{parts.dev.name} {parts.dev.split}",
        "training": figures,
        "compression": {
            "delta": config.artefact.delta,
            "bytes": stored_bytes,
            "accuracy_full": float((full[0].argmax(axis=1) == labels).mean()),
        },
        "monte_carlo": choice.to_dict(),
        "dev": {key: report[key] for key in ("data", "protocol", "scores", "subsets", "calibration")},
    }
    policies = _policies(folds, labels, groups, parts.emotions)
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


def _gold(task: EmoNetTask) -> np.ndarray:
    return np.array([turn.label for turns in task.dev for turn in turns])


def _labelled(logits: np.ndarray, task: EmoNetTask) -> tuple[np.ndarray, np.ndarray]:
    """Logits and classes of the turns that have a gold label."""
    labels = _gold(task)
    return logits[labels != NO_LABEL], labels[labels != NO_LABEL]


def _subsets(talks: Sequence[Conversation], keep: np.ndarray) -> dict[str, np.ndarray]:
    first = first_of_speaker(talks)
    named = {
        "first_of_speaker": first,
        "later_of_speaker": ~first,
        "first_in_conversation": first_in_conversation(talks),
    }
    return {name: np.asarray(mask)[keep] for name, mask in named.items()}


def _policies(
    folds: CrossFitted, labels: np.ndarray, groups: np.ndarray, emotions: EmotionSet
) -> dict[str, Any]:
    """A policy for each set the model can report in, calibrated over dialogues."""
    policies = {}
    for name in (emotions.name, "ekman", "sentiment"):
        try:
            emotion_map = load_emotion_map(emotions.name, name)
        except ConfigError:
            continue
        probabilities, gold = (
            emotion_map.apply(folds.probabilities),
            emotion_map.apply(np.eye(len(emotions))[labels]),
        )
        best = probabilities.argmax(axis=1)
        rows = np.arange(len(best))
        policies[name] = fit_policy(
            probabilities[rows, best], gold[rows, best] < 0.5, groups=groups
        ).to_dict()
    return policies


def _info(
    config: ExperimentConfig, parts: Ingredients, folder: Path, mode: str | None = None
) -> ArtefactInfo:
    emonet = config.emonet
    assert emonet is not None
    width = None if parts.features is None else parts.features.width
    rows = 0 if parts.speakers is None else len(parts.speakers)
    settings = emonet_settings(config, observation_width=width, speaker_rows=rows, bio_width=parts.bio_width)
    shared = parts.shared
    return ArtefactInfo(
        kind="emonet",
        name=config.name,
        emotion_set=parts.emotions.name,
        labels=parts.emotions.labels,
        base=config.backbone.name,
        architecture=asdict(settings),
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
        licences=tuple(
            filter(
                None,
                (_LICENCES.get(config.data.corpus), *(shared.info.licences if shared is not None else ())),
            )
        ),
        reads={
            **(
                {"utterance_model": SHARED_MODEL, "utterance_sha256": None}
                if shared is None
                else classifier_reference(shared, folder)
            ),
            "memory_encoder": emonet.memory_encoder,
            "history": emonet.history,
            "history_limit": 0 if emonet.memory_encoder == "none" else emonet.history_limit,
            "observation_width": width,
            "bio": emonet.bio,
            "speaker_text": emonet.speaker_text,
            "speaker_corpus": config.data.corpus,
            "speakers": None if parts.speakers is None else list(parts.speakers.names),
            "trained_speakers": list(
                SpeakerVocabulary.from_conversations(
                    parts.train.conversations, corpus=config.data.corpus
                ).names
            ),
        },
        versions=installed_versions(),
    )
