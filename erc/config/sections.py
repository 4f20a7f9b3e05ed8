"""The sections that several tasks share, each with its defaults."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field

from erc.models.mc_modes import SAMPLED_MODES, McMode

Rate = Annotated[float, Field(ge=0.0, lt=1.0)]
"""A share from 0 up to, but not including, 1: dropout, smoothing, warm-up."""
PositiveInt = Annotated[int, Field(ge=1)]
PositiveFloat = Annotated[float, Field(gt=0.0)]
NonNegativeFloat = Annotated[float, Field(ge=0.0)]
Name = Annotated[str, Field(min_length=1)]
LossKind = Literal["bce", "cross_entropy"]
ClassWeights = Literal["none", "emcoder", "min_over_count", "inverse", "sqrt_inverse", "effective_number"]
FilePath = Annotated[Path, BeforeValidator(lambda value: Path(value) if isinstance(value, str) else value)]


def _sampled(mode: McMode) -> McMode:
    if mode not in SAMPLED_MODES:
        raise ValueError(
            f"'uncertainty.mode' is '{mode}', but a model samples one of: {', '.join(SAMPLED_MODES)}"
        )
    return mode


class Section(BaseModel):
    """Base of every section: frozen and strict (no "3" for 3); refuses unknown keys and infinities."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", strict=True, allow_inf_nan=False, validate_default=True
    )


class DataConfig(Section):
    """The corpus, its splits, and limits on their size."""

    corpus: Name
    train_split: Name = "train"
    dev_split: Name = "dev"
    max_tokens: Annotated[int, Field(ge=4)] = 96
    """Tokens of one utterance, special tokens included; longer texts are cut at the end."""
    root: FilePath | None = None
    """The data root; None takes the one of the user's settings."""
    train_limit: PositiveInt | None = None
    """Maximum number of training conversations, sampled with `optim.seed`; None takes all."""
    dev_limit: PositiveInt | None = None
    """Maximum number of dev conversations, sampled in the same way; None takes all."""


class BackboneConfig(Section):
    """The pretrained encoder and its dropout in training."""

    name: Name = "sentence-transformers/all-MiniLM-L6-v2"
    revision: Name | None = None
    freeze_word_embeddings: bool = True
    hidden_dropout: Rate = 0.1
    attention_dropout: Rate = 0.0
    attention: Literal["eager", "sdpa"] = "eager"
    """`eager` takes half the time of `sdpa` for a backward pass on CPUs; `sdpa` is faster on a GPU."""


class HeadConfig(Section):
    """The classifier over the pooled encoder output."""

    hidden: PositiveInt | None = None
    """Width of the hidden layer; None takes the encoder's."""
    dropout: Rate = 0.1
    pooling: Literal["mean", "cls", "mean_cls"] = "mean_cls"


class LossConfig(Section):
    """The loss, and the weights of rare labels."""

    kind: LossKind = "bce"
    """`bce` for independent labels, `cross_entropy` for exclusive ones; left out, the task's own kind."""
    class_weights: ClassWeights = "none"
    label_smoothing: Rate = 0.0


class OptimConfig(Section):
    """The optimiser, its schedule and its precision."""

    learning_rate: PositiveFloat = 1e-4
    head_learning_rate: PositiveFloat = 3e-4
    weight_decay: NonNegativeFloat = 0.01
    epochs: PositiveFloat = 3.0
    batch_size: PositiveInt = 32
    micro_batch_size: PositiveInt | None = None
    """Maximum number of examples computed at once: a batch is computed in equal parts, one after another.

    The result of a step does not change.
    """
    warmup_fraction: Rate = 0.06
    """Share of all steps over which the learning rate rises from zero."""
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


class UncertaintyConfig(Section):
    """Monte-Carlo dropout: the defaults that the artefact records."""

    samples: PositiveInt = 50
    mode: Annotated[McMode, Field(strict=False), AfterValidator(_sampled)] = McMode.HEAD
    top_k: PositiveInt = 1
    """Encoder layers, counted from the top, that are sampled in mode `top-k`."""


class ArtefactConfig(Section):
    """How the artefact is stored, and which artefact training starts from."""

    delta: Literal["int8", "int4", "none"] = "int4"
    """How the difference to the pretrained weights is stored; `none` stores all trained weights instead."""
    init_from: Name | None = None
    """A model name or folder whose weights training starts from."""
