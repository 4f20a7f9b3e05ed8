"""What a model of any kind says of labelled data, as an evaluation reads it.

Shapes: U turns, C labels of the data's emotion set.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from erc.data import SpeakerPast
from erc.errors import ArtefactError, InputError
from erc.evaluation.labelled_data import GoldData
from erc.evaluation.memory import MEMORY_NOTE, corpus_past, evaluated_memory
from erc.inference.kinds import CONVERSATION_MODELS, make_scorer
from erc.inference.loading import fine_thresholds
from erc.inference.scorers.caching import CachedScorer
from erc.inference.scorers.settings import InferenceSettings
from erc.inference.scorers.utterance import UtteranceScorer
from erc.memory.corpus import CorpusBios
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


def of_artefact(artefact: Artefact, *, inputs: Path | None = None) -> Candidate:
    """The candidate of a model folder; `inputs` keeps the memories of corpora that it reads. ArtefactError for a kind that cannot be evaluated."""
    info = artefact.info
    if info.kind == "utterance":
        believe = partial(_utterance_output, artefact)
    elif info.kind in CONVERSATION_MODELS:
        believe = partial(_conversation_output, artefact, inputs)
    else:
        known = ", ".join(("utterance", *CONVERSATION_MODELS))
        raise ArtefactError(f"{info.identity} is of kind '{info.kind}'; known kinds are {known}")
    return Candidate(
        identity=info.identity,
        kind=info.kind,
        emotion_set=info.emotion_set,
        sha256=artefact.sha256,
        believe=believe,
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


def _utterance_output(artefact: Artefact, data: GoldData, settings: InferenceSettings) -> ModelOutput:
    scorer = UtteranceScorer(artefact, settings=settings, target=data.emotions.name)
    scores = scorer.score_texts([turn.text for turn in data.turns()])
    sampled = scorer.sampling["samples"] > 0
    sampling = {**scorer.sampling, "truncated": int(scores.truncated.sum())}
    if data.emotions.multi_label:
        return ModelOutput(scores.mapped, scores.logits, scores.per_label, sampling)
    return ModelOutput(distribution(scores.mapped), None, scores.uncertainty if sampled else None, sampling)


def _conversation_output(
    artefact: Artefact, inputs: Path | None, data: GoldData, settings: InferenceSettings
) -> ModelOutput:
    refuse_several_labels(data, identity=artefact.info.identity, own=artefact.info.emotion_set)
    utterance = CachedScorer(load_shared(artefact), settings=replace(settings, uncertainty="off"))
    scorer = make_scorer(artefact, utterance=utterance, settings=settings, target=data.emotions.name)
    with ExitStack() as stack:
        past: SpeakerPast | None = None
        notes: tuple[str, ...] = ()
        if scorer.past_read.bios:
            past, notes = _bios(artefact, utterance, data, inputs, stack)
        scores = scorer.score_corpus(data.conversations, past=past)
    if artefact.info.config.get("emonet", {}).get("dev_sees_train"):
        notes = (
            *notes,
            "in training the speakers of dev were known from the training split too "
            "(emonet.dev_sees_train); here they are not",
        )
    sampled = scorer.sampling["samples"] > 0
    sampling = {**scorer.sampling, "truncated": int(scores.truncated.sum())}
    return ModelOutput(
        distribution(scores.probabilities), None, scores.uncertainty if sampled else None, sampling, notes
    )


def _bios(
    artefact: Artefact, utterance: CachedScorer, data: GoldData, inputs: Path | None, stack: ExitStack
) -> tuple[SpeakerPast | None, tuple[str, ...]]:
    """The bios of the data's speakers as training's dev evaluation had them, and the note that says so."""
    files = {name.rpartition("/")[2]: sha256 for name, sha256 in artefact.info.data.items()}
    registry = stack.enter_context(
        evaluated_memory(data, utterance, inputs, config=artefact.info.config, section="emonet", files=files)
    )
    if registry is None:
        return None, (
            "the conversations belong to no corpus, so nothing is known of their speakers: this model was "
            "evaluated without bios",
        )
    return CorpusBios(corpus_past(registry, data, utterance, limit=0), data.conversations), (MEMORY_NOTE,)
