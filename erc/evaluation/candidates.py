"""What a model of any kind says of labelled data, as an evaluation reads it.

Shapes: U turns, C labels of the data's emotion set.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from erc.data.chronology import NoHistory, sequence_numbers
from erc.data.corpora.corpus import chronological
from erc.errors import ArtefactError, InputError
from erc.evaluation.labelled_data import GoldData
from erc.evaluation.memory import MEMORY_NOTE, evaluated_memory
from erc.inference.loading import fine_thresholds
from erc.inference.scorers.caching import CachedScorer
from erc.inference.scorers.emonet import EmoNetScorer
from erc.inference.scorers.history import StoredPast
from erc.inference.scorers.settings import InferenceSettings
from erc.inference.scorers.utterance import UtteranceScorer
from erc.memory.corpus import corpus_bios
from erc.models.speaker_embedding import SpeakerVocabulary
from erc.persistence import load_shared
from erc.persistence.artefact import Artefact
from erc.uncertainty.decomposition import Uncertainty
from erc.uncertainty.thresholds import LabelThresholds


@dataclass(frozen=True, slots=True, eq=False)
class ModelOutput:
    """What a model says of U turns over the data's emotion set.

    `probabilities` (U, C) as the model ships them: calibrated, mapped, and for a set of exclusive labels a
    distribution. `logits` (U, C) uncalibrated, None for a mapped belief. `mc` per label (U, C) for
    multi-label sets, per turn (U,) else, None where nothing was sampled. `notes` tell the reader what the
    model was given to read; `asked` is the set it was asked in, where it has none of its own.
    """

    probabilities: np.ndarray
    logits: np.ndarray | None
    mc: Uncertainty | None
    sampling: dict[str, Any]
    notes: tuple[str, ...] = ()
    asked: str | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Candidate:
    """A model to be evaluated: what it is called, what it was made from, and what it believes of data.

    `files` are the SHA-256 of the files it was made with, by name; `config` is its run's configuration;
    `speakers` are those of its training; `thresholds` decide for independent labels.
    """

    identity: str
    kind: str
    emotion_set: str
    sha256: str | None
    believe: Callable[[GoldData, InferenceSettings], ModelOutput]
    files: Mapping[str, str] = field(default_factory=dict)
    config: Mapping[str, Any] = field(default_factory=dict)
    speakers: SpeakerVocabulary | None = None
    thresholds: LabelThresholds | None = None


def of_artefact(artefact: Artefact, *, supplies: Path | None = None) -> Candidate:
    """The candidate of a model folder; `supplies` keeps the memories of corpora that it reads. ArtefactError for a kind that cannot be evaluated."""
    info = artefact.info
    believers: dict[str, Callable[[GoldData, InferenceSettings], ModelOutput]] = {
        "utterance": partial(_utterance_belief, artefact),
        "emonet": partial(_emonet_belief, artefact, supplies),
    }
    if info.kind not in believers:
        raise ArtefactError(
            f"{info.identity} is of kind '{info.kind}'; those that can be evaluated are {', '.join(believers)}"
        )
    return Candidate(
        identity=info.identity,
        kind=info.kind,
        emotion_set=info.emotion_set,
        sha256=artefact.sha256,
        believe=believers[info.kind],
        files=info.data,
        config=info.config,
        speakers=_trained_speakers(info.reads),
        thresholds=fine_thresholds(artefact) if info.kind == "utterance" else None,
    )


def _trained_speakers(reads: Mapping[str, Any]) -> SpeakerVocabulary | None:
    """The speakers of a conversation model's training; None where it does not say."""
    names = reads.get("speakers") or reads.get("trained_speakers")
    return SpeakerVocabulary(corpus=str(reads["speaker_corpus"]), names=tuple(names)) if names else None


def distribution(probabilities: np.ndarray) -> np.ndarray:
    """Independent probabilities (U, C) scaled to a sum of 1: the likeliest label stays the likeliest."""
    total = probabilities.sum(axis=1, keepdims=True)
    return np.divide(
        probabilities, total, out=np.full_like(probabilities, 1.0 / probabilities.shape[1]), where=total > 0
    )


def refuse_several_labels(data: GoldData, *, identity: str, own: str) -> None:
    """Raises InputError for data with several labels a turn, of which a model of one emotion a turn says nothing."""
    if data.emotions.multi_label:
        raise InputError(
            f"{identity} knows the emotions of {own}, the data has several labels a turn", path=data.source
        )


def _utterance_belief(artefact: Artefact, data: GoldData, settings: InferenceSettings) -> ModelOutput:
    scorer = UtteranceScorer(artefact, settings=settings, target=data.emotions.name)
    scores = scorer.score_texts([turn.text for turn in data.turns()])
    sampled = scorer.mode != "off"
    sampling = {
        "mode": scorer.mode,
        "samples": scorer.samples if sampled else 0,
        "truncated": int(scores.truncated.sum()),
    }
    if data.emotions.multi_label:
        return ModelOutput(scores.mapped, scores.logits, scores.per_label, sampling)
    return ModelOutput(distribution(scores.mapped), None, scores.uncertainty if sampled else None, sampling)


def _emonet_belief(
    artefact: Artefact, supplies: Path | None, data: GoldData, settings: InferenceSettings
) -> ModelOutput:
    refuse_several_labels(data, identity=artefact.info.identity, own=artefact.info.emotion_set)
    utterance = CachedScorer(load_shared(artefact), settings=replace(settings, uncertainty="off"))
    scorer = EmoNetScorer(artefact, utterance=utterance, settings=settings, target=data.emotions.name)
    stored: StoredPast | None = None
    notes: tuple[str, ...] = ()
    if scorer.reads.get("bio", "none") != "none":
        stored, notes = _bios(artefact, utterance, data, supplies)
    scores = scorer.score_corpus(data.conversations, stored)
    if artefact.info.config.get("emonet", {}).get("dev_sees_train"):
        notes = (
            *notes,
            "in training the speakers of dev were known from the training split too (emonet.dev_sees_train); here they are not",
        )
    sampled = scorer.mode != "off"
    sampling = {
        "mode": scorer.mode,
        "samples": scorer.samples if sampled else 0,
        "truncated": int(scores.truncated.sum()),
    }
    return ModelOutput(
        distribution(scores.probabilities), None, scores.uncertainty if sampled else None, sampling, notes
    )


def _bios(
    artefact: Artefact, utterance: CachedScorer, data: GoldData, supplies: Path | None
) -> tuple[StoredPast | None, tuple[str, ...]]:
    """The bios of the data's speakers as training's dev evaluation had them, and the note that says so."""
    config = artefact.info.config
    files = {name.rpartition("/")[2]: sha256 for name, sha256 in artefact.info.data.items()}
    with evaluated_memory(
        data, utterance, supplies, config=config, section="emonet", files=files
    ) as registry:
        if registry is None:
            return None, (
                "the conversations are no corpus's, so nothing is known of their speakers: this model was evaluated without bios",
            )
        times = sequence_numbers(chronological(data.conversations))
        return StoredPast(
            NoHistory(), times, {}, corpus_bios([(registry, data.conversations)], utterance.embed)
        ), (MEMORY_NOTE,)
