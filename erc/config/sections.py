"""The sections of an experiment's configuration, each with its defaults."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

Rate = Annotated[float, Field(ge=0.0, lt=1.0)]
"""A share that may be nothing but never everything: dropout, smoothing, warm-up."""
PositiveInt = Annotated[int, Field(ge=1)]
PositiveFloat = Annotated[float, Field(gt=0.0)]
NonNegativeFloat = Annotated[float, Field(ge=0.0)]
Name = Annotated[str, Field(min_length=1)]
FilePath = Annotated[Path, BeforeValidator(lambda value: Path(value) if isinstance(value, str) else value)]


class Section(BaseModel):
    """Base of every section: frozen, strict (no "3" for 3), unknown keys and infinities refused."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", strict=True, allow_inf_nan=False, validate_default=True
    )


class DataConfig(Section):
    """Which corpus, which splits, how much of each text."""

    corpus: Name
    train_split: Name = "train"
    dev_split: Name = "dev"
    max_tokens: Annotated[int, Field(ge=4)] = 96
    """Tokens of one utterance, special tokens included; longer texts lose their end."""
    root: FilePath | None = None
    """The data root; None asks the one setting that holds it."""
    train_limit: PositiveInt | None = None
    """At most so many conversations of the training split, a sample by `optim.seed`, for a quick look; None takes all."""
    dev_limit: PositiveInt | None = None
    """The same of the dev split."""


class BackboneConfig(Section):
    """The pretrained encoder and the noise it is trained with."""

    name: Name = "sentence-transformers/all-MiniLM-L6-v2"
    revision: Name | None = None
    freeze_word_embeddings: bool = True
    hidden_dropout: Rate = 0.1
    attention_dropout: Rate = 0.0
    attention: Literal["eager", "sdpa"] = "eager"
    """On CPUs the backward pass of `eager` takes half the time of `sdpa`'s; a GPU prefers `sdpa`."""


class HeadConfig(Section):
    """The classifier over the pooled encoder output."""

    hidden: PositiveInt | None = None
    """Width of the hidden layer; None takes the encoder's."""
    dropout: Rate = 0.1
    pooling: Literal["mean", "cls", "mean_cls"] = "mean_cls"


class LossConfig(Section):
    """What is minimised, and what a rare label weighs."""

    kind: Literal["bce", "cross_entropy"] = "bce"
    """What the task says: `bce` for independent labels, `cross_entropy` for emotions of which one holds; left out it is the right one."""
    class_weights: Literal[
        "none", "emcoder", "min_over_count", "inverse", "sqrt_inverse", "effective_number"
    ] = "none"
    label_smoothing: Rate = 0.0


class OptimConfig(Section):
    """How long, how fast, in which precision."""

    learning_rate: PositiveFloat = 1e-4
    head_learning_rate: PositiveFloat = 3e-4
    weight_decay: NonNegativeFloat = 0.01
    epochs: PositiveFloat = 3.0
    batch_size: PositiveInt = 32
    micro_batch_size: PositiveInt | None = None
    """Examples computed at once, at most: a step takes its batch in equal parts, one after the other. The step is the same, and memory holds
    one part."""
    warmup_fraction: Rate = 0.06
    """Share of all steps over which the learning rate climbs from zero."""
    schedule: Literal["cosine", "linear"] = "cosine"
    max_grad_norm: PositiveFloat = 1.0
    ema_decay: Annotated[float, Field(gt=0.0, lt=1.0)] | None = 0.999
    """Decay per step of the exponential moving average of the weights; None keeps the last weights."""
    precision: Literal["bf16", "fp32", "auto"] = "auto"
    seed: Annotated[int, Field(ge=0, lt=2**32)] = 42
    length_bucketing: bool = True
    evaluations_per_epoch: PositiveInt = 1
    early_stopping: PositiveInt | None = None
    """Evaluations without a better dev score before training stops; None never stops early."""


class DistillationConfig(Section):
    """Teachers of the same architecture, trained first under other seeds; their mean belief softens the labels."""

    teachers: PositiveInt = 3
    teacher_epochs: PositiveFloat = 2.0
    soft_share: Rate = 0.5
    """Share of the loss that follows the teachers instead of the labels."""


class UncertaintyConfig(Section):
    """Monte-Carlo dropout as the artefact will use it when nobody asks for anything else."""

    samples: PositiveInt = 50
    mode: Literal["head", "top-k", "full"] = "head"
    top_k: PositiveInt = 1
    """Encoder layers, counted from the top, that are sampled in mode `top-k`."""


class ArtefactConfig(Section):
    """What is written, and from which artefact training starts."""

    delta: Literal["int8", "int4", "none"] = "int4"
    """How the difference to the pretrained weights is stored; `none` stores the trained weights whole."""
    init_from: Name | None = None
    """A model name or folder whose weights training starts from."""


class EmoNetConfig(Section):
    """The conversation model: its context encoder and what it is told of the speaker."""

    context: Literal["window", "turn_causal", "hierarchical"] = "turn_causal"
    encoder: Literal["own", "shared"] = "own"
    """`shared`: turns are read by the shared classifier's encoder, which is not trained, in the one pass that serves both (`hierarchical`)."""
    token_window: Annotated[int, Field(ge=8)] = 256
    """Tokens of past and target that context `window` encodes anew for each target."""
    turn_window: PositiveInt = 12
    """Turns before its own that a token may attend to in context `turn_causal`."""
    gate_bias: float | None = None
    """Initial bias of the sigmoid gates on looking back in `turn_causal`, such as -3; None for gates that begin exactly closed."""
    context_width: PositiveInt = 256
    """Width of the recurrent layers in context `hierarchical`."""
    memory_encoder: Literal["shared", "own", "none"] = "shared"
    history_limit: PositiveInt = 12
    """Most recent observations of the speaker that the behaviour GRU reads."""
    memory_width: PositiveInt = 256
    """Width of the behaviour GRU over shared observations; an own memory is as wide as its encoder."""
    memory_projection: PositiveInt = 32
    """Width to which a shared observation's embedding is projected before the behaviour GRU."""
    history: Literal["off", "dialogue", "global", "shuffled_speakers", "other_speaker"] = "global"
    """What the memory reads: nothing, the speaker's turns of this conversation or of all; the last two are controls with a wrong owner."""
    dev_sees_train: bool = False
    """Whether a speaker's history on dev holds what the training split says of earlier conversations."""
    speaker_text: Literal["none", "name", "local_tag", "global_tag"] = "local_tag"
    global_speakers: bool = False
    """Whether speakers of the training corpus get embeddings of their own, across conversations."""
    speaker_dropout: Rate = 0.3
    """Share of training turns (for `speaker_text: global_tag` of speakers in a conversation) shown as of the unknown, so that it is learnt too."""
    separators: bool = True
    """Whether the tokens of each turn end with the tokenizer's separator; CoMPM (2022) has none."""
    join: Literal["sum", "concat", "direct_sum"] = "sum"
    """How the memory is added: projected and summed, through a layer over both, or summed as it is (CoMPM 2022)."""
    zero_start: bool = True
    """Whether the memory contributes exactly nothing before training."""
    bio: Literal["none", "linear", "attention"] = "none"
    head: Literal["mlp", "linear"] = "mlp"
    """`linear` classifies by one layer over the joined vector, as CoMPM and EmoNet do; `mlp` has a hidden one."""


class LoraConfig(Section):
    """Low-rank adapters over a frozen language model."""

    r: PositiveInt = 16
    alpha: PositiveInt = 32
    dropout: Rate = 0.05
    targets: Name = "all-linear"
    """Names of linear layers, separated by spaces, or all-linear."""
    rank_stabilised: bool = False
    """Scale by alpha / sqrt(r) instead of alpha / r."""


class LlmStageConfig(Section):
    """One stage of training: its tasks with the weights of their losses."""

    tasks: Annotated[
        dict[
            Literal[
                "erc",
                "speaker_identification",
                "emotion_impact",
                "speaker_characteristic",
                "interlocutor_commonsense",
            ],
            PositiveFloat,
        ],
        Field(min_length=1),
    ]
    epochs: PositiveFloat | None = None
    """None takes optim.epochs."""
    learning_rate: PositiveFloat | None = None
    characteristic: Literal[
        "xIntent", "xReact", "oReact", "xWant", "oWant", "xEffect", "oEffect", "xNeed", "xAttr"
    ] = "oReact"
    """Which characteristic the task speaker_characteristic learns."""


class LlmConfig(Section):
    """The language-model path: base model, adapter, what the prompt shows, and the stages of training."""

    base: Name = "Qwen/Qwen2.5-1.5B-Instruct"
    revision: Name | None = None
    precision: Literal["auto", "fp32", "bf16", "4bit"] = "auto"
    lora: LoraConfig = LoraConfig()
    max_tokens: Annotated[int, Field(ge=64)] = 1024
    """Tokens of a whole prompt; the oldest turns give way, never the target."""
    turns: Annotated[int, Field(ge=0)] | None = 12
    block: PositiveInt = 4
    """Turns that are dropped at once, so that consecutive prompts share their beginning."""
    bios: bool = False
    history: Annotated[int, Field(ge=0)] = 0
    """Most past turns of the speaker, of the dialogue so far and of earlier ones, with their predicted emotions, in the prompt."""
    retrieval: Literal["recency", "similarity", "both", "none"] = "recency"
    demonstrations: Annotated[int, Field(ge=0)] = 0
    dev_sees_train: bool = False
    """Whether bios and past turns on dev hold what the training split says of earlier conversations."""
    writer: Name | None = None
    """The language model that writes what a recipe learns from: a folder, a hub id, or `base`, the base itself. None: the base writes answers,
    and bios are counted, not written."""
    loss: Literal["tokens", "labels", "both"] = "tokens"
    neftune: NonNegativeFloat = 0.0
    pack_tokens: PositiveInt | None = 2048
    """Tokens of a row into which examples are packed; None gives each a row of its own."""
    gradient_checkpointing: bool = False
    stages: Annotated[dict[Name, LlmStageConfig], Field(min_length=1)] = {
        "erc": LlmStageConfig(tasks={"erc": 1.0})
    }
    """Stages by name, trained in the order written."""


class MultitaskConfig(Section):
    """Several configurations trained together over one encoder: one of an utterance classifier, the rest of conversation models."""

    parts: Annotated[dict[Name, PositiveFloat], Field(min_length=2)]
    """Names or files of the configurations, with the weight of each one's loss; the utterance classifier stands first."""
    text_share: Annotated[float, Field(gt=0.0, le=1.0)] = 1.0
    """Share of the classifier's training texts that is used; where it starts from a trained one, a part of them keeps what it knows."""
    soft_share: Rate = 0.0
    """Share of the classifier's loss that follows the classifier it starts from instead of the labels."""
    head_epochs: NonNegativeFloat = 2.0
    """Epochs in which each conversation model's own parts, its memory among them, are trained on once the encoder stands."""
