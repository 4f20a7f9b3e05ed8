"""From the name of a model to a Predictor."""

from __future__ import annotations

from erc.errors import ArtefactError
from erc.inference.emonet_scorer import EmoNetScorer
from erc.inference.predictor import Predictor
from erc.inference.scores import Scorer
from erc.inference.settings import InferenceSettings
from erc.inference.utterance_scorer import UtteranceScorer
from erc.persistence import find_model, load_artefact
from erc.persistence.artefact import Artefact
from erc.uncertainty.policy import DecisionPolicy
from erc.uncertainty.thresholds import LabelThresholds

DEFAULT_MODEL = "emonet-meld-minilm"


def load_predictor(model: str = DEFAULT_MODEL, *, settings: InferenceSettings | None = None, emotions: str | None = None) -> Predictor:
    """The Predictor of a model given by name or folder.

    `emotions` names the set to report in (None: the model's own). Asked for the 28 emotions, a conversation model hands over to the
    utterance classifier it reads, which is the one that knows them. Raises ArtefactError for a model that cannot be used and
    ConfigError for a set it cannot report in.
    """
    settings = settings or InferenceSettings()
    artefact = load_artefact(find_model(model))
    if artefact.info.kind == "emonet" and emotions != "goemotions":
        shared = load_shared(artefact)
        scorer: Scorer = EmoNetScorer(artefact, utterance=UtteranceScorer(shared, settings=settings), settings=settings, target=emotions)
        thresholds = fine_thresholds(shared)
    else:
        artefact = load_shared(artefact) if artefact.info.kind == "emonet" else artefact
        scorer = UtteranceScorer(artefact, settings=settings, target=emotions)
        thresholds = fine_thresholds(artefact)
    return Predictor(scorer, fine_thresholds=thresholds, policy=policy_for(artefact, scorer.emotions.name), settings=settings)


def load_shared(artefact: Artefact) -> Artefact:
    """The shared classifier a conversation model reads. Raises ArtefactError where it is another one than it was trained with."""
    reads = artefact.info.reads
    shared = load_artefact(find_model(str(reads["utterance_model"])))
    wanted = reads.get("utterance_sha256")
    if wanted is not None and shared.sha256 != wanted:
        raise ArtefactError(
            f"{artefact.info.identity} was trained with a {shared.info.name} of SHA-256 {wanted[:12]}..., the one in "
            f"{shared.folder} has {shared.sha256[:12]}...: install the models together, or train the conversation model again"
        )
    return shared


def fine_thresholds(artefact: Artefact) -> LabelThresholds | None:
    """The per-label thresholds stored with a model, or None."""
    return None if artefact.thresholds is None else LabelThresholds.from_dict(artefact.thresholds)


def policy_for(artefact: Artefact, emotion_set: str) -> DecisionPolicy | None:
    """The decision policy that was fitted for predictions in `emotion_set`, or None."""
    record = (artefact.policy or {}).get(emotion_set)
    return None if record is None else DecisionPolicy.from_dict(record)
