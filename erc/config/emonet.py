"""The section of task `emonet`, the conversation model."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from erc.config.sections import Name, PositiveInt, Rate
from erc.config.tasks import TaskSection


class EmoNetConfig(TaskSection):
    """The conversation model: its context encoder and its inputs about the speaker."""

    field: ClassVar[str] = "emonet"
    when_absent: ClassVar[Literal["default"]] = "default"

    context: Literal["window", "turn_causal", "hierarchical"] = "turn_causal"
    encoder: Literal["own", "shared"] = "own"
    """`shared` uses the frozen encoder of the shared classifier, in one pass for both models."""
    token_window: Annotated[int, Field(ge=8)] = 256
    """Tokens of past and target that context `window` encodes for each target."""
    turn_window: PositiveInt = 12
    """Earlier turns that a token may attend to in context `turn_causal`."""
    gate_bias: float | None = None
    """Initial bias of the sigmoid gates on attention to earlier turns in `turn_causal`, such as -3.

    None starts with the gates exactly closed.
    """
    context_width: PositiveInt = 256
    """Width of the recurrent layers in context `hierarchical`."""
    memory_encoder: Literal["shared", "own", "none"] = "shared"
    history_limit: PositiveInt = 12
    """Most recent observations of the speaker that the behaviour GRU reads."""
    memory_width: PositiveInt = 256
    """Width of the behaviour GRU with memory encoder `shared`; `own` has the width of its encoder."""
    memory_projection: PositiveInt = 32
    """Width to which a shared observation's embedding is projected before the behaviour GRU."""
    history: Literal["off", "dialogue", "global", "shuffled_speakers", "other_speaker"] = "global"
    """What the memory reads: nothing, or the speaker's turns of this conversation or of all conversations.

    `shuffled_speakers` and `other_speaker` are controls that read the turns of another speaker.
    """
    dev_sees_train: bool = False
    """Whether a speaker's history on dev includes earlier conversations of the training split."""
    speaker_text: Literal["none", "name", "local_tag", "global_tag"] = "local_tag"
    global_speakers: bool = False
    """Whether every speaker of the training corpus gets an embedding, the same in all conversations."""
    speaker_dropout: Rate = 0.3
    """Share of training turns, or of speakers with `global_tag`, that get the unknown speaker.

    This trains the embedding of the unknown speaker.
    """
    separators: bool = True
    """Whether the tokens of each turn end with the tokenizer's separator; CoMPM (2022) has none."""
    join: Literal["sum", "concat", "direct_sum"] = "sum"
    """How the memory's state is added to the turn's vector.

    `sum` projects and adds it, `concat` applies a linear layer to both, `direct_sum` adds it as it is (CoMPM
    2022).
    """
    zero_start: bool = True
    """Whether the memory's contribution is exactly zero before training."""
    bio: Literal["none", "linear", "attention"] = "none"
    writer: Name | None = None
    """Language model that writes the bios, a folder or hub id; None computes them from counts."""
    head: Literal["mlp", "linear"] = "mlp"
    """`linear` is one layer over the joined vector (CoMPM, EmoNet); `mlp` has a hidden layer."""
