"""EmoNet from plain values, the same ones an artefact keeps: training builds it this way, and so does loading."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from erc.models.context.build import ContextMode, build_context
from erc.models.context.layers import AnyEncoder
from erc.models.emonet.fusion import BioJoin, BioKind, JoinKind
from erc.models.emonet.network import EmoNet
from erc.models.emonet.speaker_history import BehaviourMemory, OwnMemory, SharedMemory
from erc.models.encoder.pooling import Pooling
from erc.models.heads import HeadKind
from erc.models.speaker_embedding import SpeakerTable

MemoryKind = Literal["shared", "own", "none"]


@dataclass(frozen=True, slots=True)
class EmoNetSettings:
    """The architecture around the encoder. Everything is a plain value, so it can stand in an artefact's description as it is."""

    context: ContextMode = "turn_causal"
    encoder: Literal["own", "shared"] = "own"
    """Whether turns are read by an encoder of this model's own or by the shared classifier's (`hierarchical`), in the one pass that serves both."""
    pooling: Pooling = "mean_cls"
    token_window: int = 256
    """Tokens of past and target beside one CLS (`window`)."""
    turn_window: int = 12
    """Turns a token may look back (`turn_causal`)."""
    gate: float | None = None
    """Initial bias of the sigmoid gates on looking back; None for gates that begin exactly closed (`turn_causal`)."""
    context_width: int = 256
    """Width of the recurrent layers (`hierarchical`)."""
    memory_encoder: MemoryKind = "shared"
    observation_width: int | None = None
    """Width of the shared classifier's embedding and probabilities together (`shared`)."""
    memory_width: int = 256
    """Width of the behaviour GRU (`shared`); an own memory is as wide as its encoder."""
    join: JoinKind = "sum"
    zero_start: bool = True
    """Whether the memory contributes exactly nothing before training."""
    speaker_rows: int = 0
    """Rows of the global speaker table, the unknown one included; 0 for no table."""
    speaker_dropout: float = 0.3
    bio: Literal["none", "linear", "attention"] = "none"
    bio_width: int | None = None
    head: HeadKind = "mlp"
    """`mlp`: a hidden layer of `head_hidden` (None: the encoder's width); `linear`: none, as CoMPM published it."""
    head_hidden: int | None = None
    dropout: float = 0.1


def build_emonet(
    settings: EmoNetSettings, *, encoder: AnyEncoder, emotions: int, memory_encoder: AnyEncoder | None = None
) -> EmoNet:
    """The untrained network over `encoder`; `memory_encoder` is a second one, for `memory_encoder: own` alone.

    Raises ValueError where the settings ask for a part without its width or its encoder, or for parts that do
    not go together.
    """
    if settings.encoder == "shared" and settings.context != "hierarchical":
        raise ValueError(
            f"context '{settings.context}' reads turns together, which takes an encoder of its own: 'shared' is for hierarchical"
        )
    context = build_context(
        settings.context,
        encoder=encoder,
        pooling=settings.pooling,
        token_window=settings.token_window,
        turn_window=settings.turn_window,
        gate=settings.gate,
        width=settings.context_width,
        dropout=settings.dropout,
    )
    return EmoNet(
        context=context,
        emotions=emotions,
        memory=_memory(settings, memory_encoder),
        join=settings.join,
        zero_start=settings.zero_start,
        speakers=_speakers(settings, context.width),
        bio=_bio(settings, context.width),
        head=settings.head,
        head_hidden=settings.head_hidden,
        dropout=settings.dropout,
    )


def _memory(settings: EmoNetSettings, encoder: AnyEncoder | None) -> BehaviourMemory | None:
    if settings.memory_encoder == "none":
        return None
    if settings.memory_encoder == "own":
        if encoder is None:
            raise ValueError("memory_encoder 'own' needs a second encoder")
        return OwnMemory(encoder=encoder)
    if settings.observation_width is None:
        raise ValueError("memory_encoder 'shared' needs observation_width")
    return SharedMemory(
        observation_width=settings.observation_width, width=settings.memory_width, dropout=settings.dropout
    )


def _speakers(settings: EmoNetSettings, width: int) -> SpeakerTable | None:
    return (
        SpeakerTable(rows=settings.speaker_rows, width=width, dropout=settings.speaker_dropout)
        if settings.speaker_rows
        else None
    )


def _bio(settings: EmoNetSettings, width: int) -> BioJoin | None:
    if settings.bio == "none":
        return None
    if settings.bio_width is None:
        raise ValueError(f"bio '{settings.bio}' needs bio_width")
    kind: BioKind = settings.bio
    return BioJoin(kind=kind, width=width, bio_width=settings.bio_width)
