"""What a conversation model is trained from: splits, shared classifier, features, speakers and bios."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from transformers import PreTrainedTokenizerBase

from erc.config import ExperimentConfig
from erc.data import Conversation
from erc.data.corpora import Corpus
from erc.emotions import EmotionSet, load_emotion_set
from erc.errors import ConfigError
from erc.models.encoder.encoder import load_tokenizer
from erc.models.speaker_embedding import SpeakerVocabulary
from erc.models.turn_builder import BioProvider
from erc.models.utterance import UtteranceClassifier
from erc.persistence import find_model, load_artefact
from erc.persistence.artefact import Artefact
from erc.training.emonet.features import Features, corpus_features
from erc.training.inputs import InputMaker, TrainingInputs, load_splits, no_inputs
from erc.training.provenance import (
    Provenance,
    corpora_provenance,
    inputs_provenance,
    model_provenance,
)
from erc.uncertainty.calibration import load_calibrator


@dataclass(frozen=True, slots=True)
class Ingredients:
    """What a conversation model is trained from.

    Attributes:
        train: The training split.
        dev: The dev split.
        emotions: The labels, in the order of the model's outputs.
        tokenizer: Tokenizer of the model's encoder.
        shared: The shared classifier, if one is named.
        features: The shared classifier's features of both splits, if the model reads them.
        history_features: What histories hold instead of `features`, if the shared classifier was trained on
            the turns of the training split.
        speakers: The training split's speakers, if the model has embeddings of them.
        bios: Vectors of the speakers' bios, if the model reads them.
        bios_provenance: Names and digests of what made the bios.
    """

    train: Corpus
    dev: Corpus
    emotions: EmotionSet
    tokenizer: PreTrainedTokenizerBase
    shared: Artefact | None
    features: Features | None
    speakers: SpeakerVocabulary | None
    history_features: Features | None = None
    bios: BioProvider | None = None
    bios_provenance: Mapping[str, Any] = field(default_factory=dict)

    @property
    def bio_width(self) -> int | None:
        """Width of a bio's vector, which the shared classifier computes; None without bios."""
        if self.bios is None or self.shared is None:
            return None
        return classifier_of(self.shared).embedding_width

    @property
    def widths(self) -> dict[str, int | None]:
        """The widths that depend on the data and the shared classifier, as arguments of `emonet_settings`."""
        found = self.features
        return {
            "embedding_width": None if found is None else found.embeddings.shape[1],
            "observed_labels": None if found is None else found.probabilities.shape[1],
            "speaker_rows": 0 if self.speakers is None else len(self.speakers),
            "bio_width": self.bio_width,
        }


def classifier_of(artefact: Artefact) -> UtteranceClassifier:
    """The network of a shared classifier."""
    assert isinstance(artefact.network, UtteranceClassifier)
    return artefact.network


def provenance_of(config: ExperimentConfig, parts: Ingredients) -> Provenance:
    """What a run depends on besides its configuration."""
    return {
        **corpora_provenance((parts.train, parts.dev)),
        **inputs_provenance(parts.bios_provenance),
        "base encoder": model_provenance(config.backbone.name, config.backbone.revision),
        "shared classifier": None if parts.shared is None else parts.shared.sha256,
    }


def gather(
    config: ExperimentConfig, *, cache_dir: Path | None, inputs: InputMaker = no_inputs
) -> Ingredients:
    """Load the splits and the shared classifier, and compute its features if the model reads them.

    Args:
        config: The experiment.
        cache_dir: Where features are kept; None keeps none.
        inputs: Makes the training inputs besides the corpus; called only for a model that reads bios.

    Raises:
        ConfigError: If the model reads bios, and there is no shared classifier or no bio.
        ArtefactError: If the shared classifier cannot be found or read.
        DataError: If a split cannot be read.
    """
    emonet = config.emonet
    assert emonet is not None
    if emonet.bio != "none" and config.artefact.init_from is None:
        raise ConfigError(
            "emonet.bio reads bios as vectors of the shared classifier: name it with artefact.init_from"
        )
    splits = load_splits(config)
    given = inputs(*splits) if emonet.bio != "none" else TrainingInputs()
    if emonet.bio != "none" and given.bios is None:
        raise ConfigError(
            "emonet.bio needs bios of the corpus's speakers: train with `erc train`, "
            "or pass training inputs with a BioProvider"
        )
    shared = (
        None if config.artefact.init_from is None else load_artefact(find_model(config.artefact.init_from))
    )
    tokenizer = (
        load_tokenizer(config.backbone.name, revision=config.backbone.revision)
        if shared is None
        else shared.tokenizer
    )
    features = None
    if "shared" in (emonet.memory_encoder, emonet.encoder) and shared is not None:
        features = features_of(shared, splits, config=config, cache_dir=cache_dir)
    identified = emonet.global_speakers or emonet.speaker_text == "global_tag"
    return Ingredients(
        train=splits[0],
        dev=splits[1],
        emotions=load_emotion_set(splits[0].emotion_set),
        tokenizer=tokenizer,
        shared=shared,
        features=features,
        speakers=SpeakerVocabulary.from_conversations(splits[0].conversations, corpus=config.data.corpus)
        if identified
        else None,
        bios=given.bios,
        bios_provenance=given.provenance,
    )


def features_of(
    classifier: Artefact, splits: tuple[Corpus, ...], *, config: ExperimentConfig, cache_dir: Path | None
) -> Features:
    """Features of all turns of `splits`, as `classifier` reads and calibrates them."""
    conversations: list[Conversation] = [one for split in splits for one in split.conversations]
    return corpus_features(
        classifier_of(classifier),
        classifier.tokenizer,
        conversations,
        cache_dir=cache_dir,
        checksums=[file.sha256 for split in splits for file in split.files],
        calibrator=load_calibrator(classifier.calibrator),
        max_tokens=classifier.info.max_tokens,
        precision=config.optim.precision,
    )
