"""From a configuration to the plain settings of a conversation model."""

from __future__ import annotations

from erc.config import ExperimentConfig
from erc.errors import ConfigError
from erc.models.emonet.build import EmoNetSettings


def emonet_settings(
    config: ExperimentConfig,
    *,
    observation_width: int | None = None,
    speaker_rows: int = 0,
    bio_width: int | None = None,
) -> EmoNetSettings:
    """The settings of `config`, with the widths that only the data and the shared classifier know.

    `speaker_rows` is the length of the speaker vocabulary, used where the configuration asks for global
    speakers. Raises ConfigError where a part is asked for whose width is missing.
    """
    if config.emonet is None:
        raise ConfigError(f"experiment '{config.name}' has no section 'emonet': its task is '{config.task}'")
    emonet = config.emonet
    if emonet.memory_encoder == "shared" and observation_width is None:
        raise ConfigError(
            "emonet.memory_encoder 'shared' reads a shared classifier's observations: name it with artefact.init_from, or use own or none"
        )
    if emonet.bio != "none" and bio_width is None:
        raise ConfigError(f"emonet.bio '{emonet.bio}' needs bios of the speakers, and there are none")
    if emonet.encoder == "shared" and (
        emonet.context,
        emonet.speaker_text,
        emonet.memory_encoder == "own",
    ) != ("hierarchical", "none", False):
        raise ConfigError(
            "emonet.encoder 'shared' takes each turn as the shared classifier read it: it needs emonet.context=hierarchical, "
            "emonet.speaker_text=none and a memory_encoder of shared or none"
        )
    if emonet.head == "linear" and config.head.hidden is not None:
        raise ConfigError("emonet.head 'linear' has no hidden layer: leave head.hidden out")
    return EmoNetSettings(
        context=emonet.context,
        encoder=emonet.encoder,
        pooling=config.head.pooling,
        token_window=emonet.token_window,
        turn_window=emonet.turn_window,
        gate=emonet.gate_bias,
        context_width=emonet.context_width,
        memory_encoder=emonet.memory_encoder,
        observation_width=observation_width if emonet.memory_encoder == "shared" else None,
        memory_width=emonet.memory_width,
        join=emonet.join,
        zero_start=emonet.zero_start,
        speaker_rows=speaker_rows if emonet.global_speakers else 0,
        speaker_dropout=emonet.speaker_dropout,
        bio=emonet.bio,
        bio_width=bio_width if emonet.bio != "none" else None,
        head=emonet.head,
        head_hidden=config.head.hidden,
        dropout=config.head.dropout,
    )
