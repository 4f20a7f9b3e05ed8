"""From the name of a model to a Predictor."""

from __future__ import annotations

from erc.inference.predictor import Predictor
from erc.inference.settings import InferenceSettings
from erc.inference.utterance_scorer import UtteranceScorer
from erc.persistence import find_model, load_artefact
from erc.persistence.artefact import Artefact
from erc.uncertainty.policy import DecisionPolicy
from erc.uncertainty.thresholds import LabelThresholds

DEFAULT_MODEL = "goemotions-minilm"


def load_predictor(model: str = DEFAULT_MODEL, *, settings: InferenceSettings | None = None, emotions: str | None = None) -> Predictor:
    """The Predictor of a model given by name or folder.

    `emotions` names the set to report in (None: the model's own). Raises ArtefactError for a model that cannot be used and
    ConfigError for a set it cannot report in.
    """
    settings = settings or InferenceSettings()
    artefact = load_artefact(find_model(model))
    scorer = UtteranceScorer(artefact, settings=settings, target=emotions)
    return Predictor(scorer, fine_thresholds=fine_thresholds(artefact), policy=policy_for(artefact, scorer.emotions.name), settings=settings)


def fine_thresholds(artefact: Artefact) -> LabelThresholds | None:
    """The per-label thresholds stored with a model, or None."""
    return None if artefact.thresholds is None else LabelThresholds.from_dict(artefact.thresholds)


def policy_for(artefact: Artefact, emotion_set: str) -> DecisionPolicy | None:
    """The decision policy that was fitted for predictions in `emotion_set`, or None."""
    record = (artefact.policy or {}).get(emotion_set)
    return None if record is None else DecisionPolicy.from_dict(record)
