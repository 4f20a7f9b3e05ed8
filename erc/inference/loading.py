"""Loads a model by name as a Predictor."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from erc.emotions import load_emotion_map
from erc.errors import ConfigError
from erc.inference.kinds import make_scorer
from erc.inference.predictor import Predictor
from erc.inference.scorers.scores import ConversationScorer
from erc.inference.scorers.settings import InferenceSettings
from erc.inference.scorers.utterance import UtteranceScorer
from erc.persistence import load_model, load_shared
from erc.persistence.artefact import Artefact
from erc.resources import DEFAULT_MODEL, LLM_PREFIX, SHARED_MODEL
from erc.uncertainty.policy import DecisionPolicy
from erc.uncertainty.thresholds import LabelThresholds


def load_predictor(
    model: str = DEFAULT_MODEL,
    *,
    settings: InferenceSettings | None = None,
    emotions: str | None = None,
    adapter: Path | None = None,
    server: str | None = None,
    cache: Path | None = None,
) -> Predictor:
    """The Predictor of a model folder or name, or of a language model as `llm:PATH_OR_ID`.

    Args:
        model: Name or folder of a model, or `llm:PATH_OR_ID`.
        settings: How to compute; None for the defaults.
        emotions: Emotion set to report in; None for the model's own. For the 28 fine emotions a conversation
            model is replaced by the utterance classifier it reads.
        adapter: Adapter folder, for a language model.
        server: URL of a model server, for a language model.
        cache: Folder for a server's answers.

    Raises:
        ArtefactError: The model cannot be used.
        ConfigError: It cannot report in `emotions`, or options do not fit the model.
    """
    settings = settings or InferenceSettings()
    if model.startswith(LLM_PREFIX):
        return _language_model(
            model, settings=settings, emotions=emotions, adapter=adapter, server=server, cache=cache
        )
    if adapter is not None or server is not None or cache is not None:
        raise ConfigError(
            f"--adapter, --server and --cache are for language models, as in --model {LLM_PREFIX}FOLDER; "
            f"{model} is none"
        )
    artefact = load_model(model)
    if artefact.info.kind == "utterance":
        return _of(
            UtteranceScorer(artefact, settings=settings, target=emotions), artefact, artefact, settings
        )
    shared = load_shared(artefact)
    if emotions == shared.info.emotion_set:
        return _of(UtteranceScorer(shared, settings=settings, target=emotions), shared, shared, settings)
    _check_emotions(artefact, emotions)
    utterance = UtteranceScorer(shared, settings=settings)
    scorer = make_scorer(artefact, utterance=utterance, settings=settings, target=emotions)
    return _of(scorer, artefact, shared, settings)


def _of(
    scorer: ConversationScorer, artefact: Artefact, shared: Artefact, settings: InferenceSettings
) -> Predictor:
    """The Predictor of an artefact, with its decision policy and the classifier's thresholds."""
    return Predictor(
        scorer,
        fine_thresholds=fine_thresholds(shared),
        policy=policy_for(artefact, scorer.emotions.name),
        settings=settings,
    )


def _check_emotions(artefact: Artefact, emotions: str | None) -> None:
    """Raises ConfigError for a set that neither the model nor its classifier reports in."""
    try:
        load_emotion_map(artefact.info.emotion_set, emotions or artefact.info.emotion_set)
    except ConfigError as error:
        raise ConfigError(
            f"{error}; goemotions comes from the utterance classifier that the model reads"
        ) from None


def load_cascade(
    model: str,
    second: str,
    *,
    settings: InferenceSettings | None = None,
    emotions: str | None = None,
    adapter: Path | None = None,
    server: str | None = None,
    cache: Path | None = None,
) -> Predictor:
    """A cascade: `model`, and the language model `second` for the turns it marks for review.

    `adapter`, `server` and `cache` belong to `second`. Both models report in the set of the first.

    Raises:
        ArtefactError: A model cannot be used.
        ConfigError: `second` is not a language model, or the two have no common emotion set.
    """
    from erc.inference.cascade import CascadePredictor

    if not second.startswith(LLM_PREFIX):
        raise ConfigError(
            f"--second {second}: write {LLM_PREFIX}FOLDER or {LLM_PREFIX}ID, the second model is a language "
            "model"
        )
    settings = settings or InferenceSettings()
    first = load_predictor(model, settings=settings.for_encoders(), emotions=emotions)
    # Modes `head` and `top-k` exist only for the first model; a language model samples its adapter.
    other = settings if settings.uncertainty == "off" else replace(settings, uncertainty="default")
    behind = load_predictor(
        second,
        settings=other,
        emotions=first.scorer.emotions.name,
        adapter=adapter,
        server=server,
        cache=cache,
    )
    return CascadePredictor(first, behind)


def _language_model(
    model: str,
    *,
    settings: InferenceSettings,
    emotions: str | None,
    adapter: Path | None,
    server: str | None,
    cache: Path | None,
) -> Predictor:
    # Imported here because language models need more packages than the small models.
    from erc.inference.llm_loading import llm_policy, load_llm_scorer

    shared = load_model(SHARED_MODEL)
    utterance = UtteranceScorer(shared, settings=settings.for_encoders())
    scorer = load_llm_scorer(
        model,
        utterance=utterance,
        adapter=adapter,
        server=server,
        cache=cache,
        settings=settings,
        emotions=emotions,
    )
    return Predictor(
        scorer, fine_thresholds=fine_thresholds(shared), policy=llm_policy(scorer), settings=settings
    )


def fine_thresholds(artefact: Artefact) -> LabelThresholds | None:
    """The per-label thresholds stored with a model, or None."""
    return None if artefact.thresholds is None else LabelThresholds.from_dict(artefact.thresholds)


def policy_for(artefact: Artefact, emotion_set: str) -> DecisionPolicy | None:
    """The decision policy fitted for predictions in `emotion_set`, or None."""
    record = (artefact.policy or {}).get(emotion_set)
    return None if record is None else DecisionPolicy.from_dict(record)
