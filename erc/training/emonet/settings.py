"""From a configuration to the plain settings of a conversation model."""

from __future__ import annotations

from dataclasses import fields

from erc.config import ExperimentConfig
from erc.config.emonet import EmoNetConfig
from erc.errors import ConfigError
from erc.models.emonet.settings import EmoNetSettings


def emonet_settings(
    config: ExperimentConfig,
    *,
    embedding_width: int | None = None,
    observed_labels: int | None = None,
    speaker_rows: int = 0,
    bio_width: int | None = None,
) -> EmoNetSettings:
    """The architecture that `config` describes; fields of the same name are copied from its `emonet` section.

    Args:
        config: The configuration.
        embedding_width: Width of the shared classifier's embedding, if there is one.
        observed_labels: Number of the shared classifier's labels, if there is one.
        speaker_rows: Rows of the speaker vocabulary.
        bio_width: Width of a bio's vector, if there are bios.

    Raises:
        ConfigError: If a part lacks its width, or settings contradict each other.
    """
    emonet = _checked(config)
    if emonet.memory_encoder == "shared" and None in (embedding_width, observed_labels):
        raise ConfigError(
            "emonet.memory_encoder 'shared' reads a shared classifier's observations: "
            "name it with artefact.init_from, or use own or none"
        )
    if emonet.bio != "none" and bio_width is None:
        raise ConfigError(f"emonet.bio '{emonet.bio}' needs bios of the speakers, and there are none")
    shared = {one.name for one in fields(EmoNetSettings)} & set(EmoNetConfig.model_fields)
    reads_observations = emonet.memory_encoder == "shared"
    return EmoNetSettings(
        **{name: getattr(emonet, name) for name in shared},
        pooling=config.head.pooling,
        embedding_width=embedding_width if reads_observations else None,
        observed_labels=observed_labels if reads_observations else None,
        speaker_rows=speaker_rows if emonet.global_speakers else 0,
        bio_width=bio_width if emonet.bio != "none" else None,
        head_hidden=config.head.hidden,
        dropout=config.head.dropout,
    )


def _checked(config: ExperimentConfig) -> EmoNetConfig:
    """The `emonet` section, if its settings fit together."""
    emonet = config.emonet
    if emonet is None:
        raise ConfigError(f"experiment '{config.name}' has no section 'emonet': its task is '{config.task}'")
    read_alone = (emonet.context, emonet.speaker_text) == ("hierarchical", "none")
    if emonet.encoder == "shared" and (not read_alone or emonet.memory_encoder == "own"):
        raise ConfigError(
            "emonet.encoder 'shared' uses the shared classifier's vector of each turn: it needs "
            "emonet.context=hierarchical, emonet.speaker_text=none and a memory_encoder of shared or none"
        )
    if emonet.encoder == "shared" and not emonet.separators:
        raise ConfigError(
            "emonet.encoder 'shared' reads turns with their separators: set emonet.separators=true"
        )
    if emonet.join == "direct_sum" and emonet.zero_start:
        raise ConfigError(
            "emonet.join 'direct_sum' has no weights that could start at zero: set zero_start=false"
        )
    if emonet.head == "linear" and config.head.hidden is not None:
        raise ConfigError("emonet.head 'linear' has no hidden layer: leave head.hidden out")
    return emonet
