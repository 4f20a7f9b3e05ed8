"""Candidates of an evaluation: models of any kind, and their output on labelled data.

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
    """A model's output for U turns over the data's emotion set.

    Attributes:
        probabilities: (U, C) calibrated and mapped; a distribution for exclusive labels.
        logits: (U, C) uncalibrated; None for mapped output.
        mc: Uncertainty per label (U, C) for multi-label sets, else per turn (U,); None without samples.
        sampling: Mode and number of samples.
        notes: Notes on the model's inputs, for the report.
        asked: Emotion set of the prompts, for a language model without a set of its own.
    """

    probabilities: np.ndarray
    logits: np.ndarray | None
    mc: Uncertainty | None
    sampling: dict[str, Any]
    notes: tuple[str, ...] = ()
    asked: str | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Candidate:
    """A model to be evaluated.

    Attributes:
        identity: Name and version.
        kind: Kind of model.
        emotion_set: The model's own emotion set.
        sha256: Digest of the weights, if known.
        believe: Computes the model's output on data.
        files: SHA-256 of its training files, by name.
        config: Configuration of its run.
        speakers: Speakers of its training.
        thresholds: Decision thresholds for independent labels.
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
    """The candidate of a model folder.

    Args:
        artefact: The model.
        inputs: Cache for memories of corpora; None: the user's cache.

    Raises:
        ArtefactError: Models of this kind cannot be evaluated.
    """
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
    """The speakers of a conversation model's training; None if they are not recorded."""
    names = reads.get("speakers") or reads.get("trained_speakers")
    return SpeakerVocabulary(corpus=str(reads["speaker_corpus"]), names=tuple(names)) if names else None


def distribution(probabilities: np.ndarray) -> np.ndarray:
    """Independent probabilities (U, C), normalised to sum 1 in the same label order."""
    total = probabilities.sum(axis=1, keepdims=True)
    return np.divide(
        probabilities, total, out=np.full_like(probabilities, 1.0 / probabilities.shape[1]), where=total > 0
    )


def refuse_several_labels(data: GoldData, *, identity: str, own: str) -> None:
    """Raises InputError for multi-label data, which a model of exclusive emotions cannot label."""
    if data.emotions.multi_label:
        raise InputError(
            f"{identity} labels with the emotions of {own}, the data has several labels per turn",
            path=data.source,
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
    """Bios of the data's speakers, as in the dev evaluation of training, and a note for the report."""
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
