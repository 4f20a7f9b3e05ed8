"""The architecture of a conversation model as plain values, which its artefact stores as they are."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from erc.models.encoder.pooling import Pooling
from erc.models.heads import HeadKind

ContextMode = Literal["window", "turn_causal", "hierarchical"]
MemoryKind = Literal["shared", "own", "none"]
JoinKind = Literal["sum", "concat", "direct_sum"]
BioKind = Literal["linear", "attention"]


@dataclass(frozen=True, slots=True)
class EmoNetSettings:
    """The architecture around the encoder.

    A field with the name of a field of the configuration's `emonet` section has its meaning and its default.

    Attributes:
        context: How a turn is encoded with the turns before it.
        encoder: `own`, or `shared` (for `hierarchical`): the shared classifier's encoder, which runs
            once for both models.
        pooling: How token vectors become one vector a turn.
        token_window: Tokens of past and target behind one CLS (`window`).
        turn_window: Turns a token may look back (`turn_causal`).
        gate_bias: Initial bias of the sigmoid gates on looking back; None for gates that start exactly closed
            (`turn_causal`).
        context_width: Width of the recurrent layers (`hierarchical`).
        memory_encoder: What encodes the speaker's past turns.
        embedding_width: Width of the shared classifier's embedding (memory `shared`).
        observed_labels: Number of the shared classifier's probabilities (memory `shared`).
        memory_projection: Width to which the embedding is projected before the behaviour GRU (memory
            `shared`).
        memory_width: Width of the behaviour GRU (memory `shared`); an own memory is as wide as its encoder.
        join: How the memory's state is added to the context vector.
        zero_start: Whether the memory contributes exactly nothing before training.
        speaker_rows: Rows of the global speaker table, the unknown speaker's included; 0 for no table.
        speaker_dropout: Share of training turns whose speaker is shown as unknown.
        bio: How a speaker's bio is added.
        bio_width: Width of a bio's vector.
        head: `mlp` has a hidden layer; `linear` has none, as published for CoMPM.
        head_hidden: Width of the hidden layer; None for the encoder's width.
        dropout: Rate in the head, in the recurrent layers and before the behaviour GRU of a shared memory.
    """

    context: ContextMode = "turn_causal"
    encoder: Literal["own", "shared"] = "own"
    pooling: Pooling = "mean_cls"
    token_window: int = 256
    turn_window: int = 12
    gate_bias: float | None = None
    context_width: int = 256
    memory_encoder: MemoryKind = "shared"
    embedding_width: int | None = None
    observed_labels: int | None = None
    memory_projection: int = 32
    memory_width: int = 256
    join: JoinKind = "sum"
    zero_start: bool = True
    speaker_rows: int = 0
    speaker_dropout: float = 0.3
    bio: Literal["none", "linear", "attention"] = "none"
    bio_width: int | None = None
    head: HeadKind = "mlp"
    head_hidden: int | None = None
    dropout: float = 0.1
