"""The one configuration tree of an experiment: frozen, typed, unknown keys refused.

A YAML file states only how an experiment differs from the defaults written here. Configurations stop at the door: builders read
these fields and pass plain arguments on, so nothing behind a builder ever sees this module.

    config = load_config("configs/goemotions-minilm.yaml", ["optim.epochs=1", "head.hidden=256"])
"""

from __future__ import annotations

import difflib
import re
import typing
from collections.abc import Hashable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Final, Literal

import yaml
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator
from pydantic_core import ErrorDetails

from erc.errors import ConfigError

SCHEMA_VERSION: Final = 1

Rate = Annotated[float, Field(ge=0.0, lt=1.0)]
"""A share that may be nothing but never everything: dropout, smoothing, warm-up."""
PositiveInt = Annotated[int, Field(ge=1)]
PositiveFloat = Annotated[float, Field(gt=0.0)]
NonNegativeFloat = Annotated[float, Field(ge=0.0)]
Name = Annotated[str, Field(min_length=1)]
FilePath = Annotated[Path, BeforeValidator(lambda value: Path(value) if isinstance(value, str) else value)]


class Section(BaseModel):
    """Base of every section: frozen, strict (no "3" for 3), unknown keys and infinities refused."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False, validate_default=True)


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
    class_weights: Literal["none", "emcoder", "min_over_count", "inverse", "sqrt_inverse", "effective_number"] = "none"
    label_smoothing: Rate = 0.0


class OptimConfig(Section):
    """How long, how fast, in which precision."""

    learning_rate: PositiveFloat = 1e-4
    head_learning_rate: PositiveFloat = 3e-4
    weight_decay: NonNegativeFloat = 0.01
    epochs: PositiveFloat = 3.0
    batch_size: PositiveInt = 32
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
    history: Literal["off", "dialogue", "global", "shuffled_speakers", "other_speaker"] = "global"
    """What the memory reads: nothing, the speaker's turns of this conversation or of all; the last two are controls with a wrong owner."""
    dev_sees_train: bool = False
    """Whether a speaker's history on dev holds what the training split says of earlier conversations."""
    speaker_text: Literal["none", "name", "local_tag", "global_tag"] = "local_tag"
    global_speakers: bool = False
    """Whether speakers of the training corpus get embeddings of their own, across conversations."""
    speaker_dropout: Rate = 0.3
    """Share of training turns (for `speaker_text: global_tag` of speakers in a conversation) shown as of the unknown, so that it is learnt too."""
    join: Literal["sum", "concat"] = "sum"
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
        dict[Literal["erc", "speaker_identification", "emotion_impact", "speaker_characteristic", "interlocutor_commonsense"], PositiveFloat],
        Field(min_length=1),
    ]
    epochs: PositiveFloat | None = None
    """None takes optim.epochs."""
    learning_rate: PositiveFloat | None = None
    characteristic: Literal["xIntent", "xReact", "oReact", "xWant", "oWant", "xEffect", "oEffect", "xNeed", "xAttr"] = "oReact"
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
    stages: Annotated[dict[Name, LlmStageConfig], Field(min_length=1)] = {"erc": LlmStageConfig(tasks={"erc": 1.0})}
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


class ExperimentConfig(Section):
    """Everything one training run is made of."""

    schema_version: Literal[1] = SCHEMA_VERSION
    name: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9._-]*$")]
    """Name of the run folder and the artefact: lower-case letters, digits, dot, dash, underscore."""
    task: Literal["utterance", "emonet", "llm", "multitask"]
    data: DataConfig
    backbone: BackboneConfig = BackboneConfig()
    head: HeadConfig = HeadConfig()
    loss: LossConfig = LossConfig()
    optim: OptimConfig = OptimConfig()
    uncertainty: UncertaintyConfig = UncertaintyConfig()
    artefact: ArtefactConfig = ArtefactConfig()
    distillation: DistillationConfig | None = None
    """Present where an utterance classifier learns from teachers."""
    emonet: EmoNetConfig | None = None
    """Present exactly when `task` is `emonet`."""
    llm: LlmConfig | None = None
    """Present exactly when `task` is `llm`."""
    multitask: MultitaskConfig | None = None
    """Present exactly when `task` is `multitask`."""

    @model_validator(mode="before")
    @classmethod
    def _default_section(cls, values: Any) -> Any:
        task = values.get("task") if isinstance(values, Mapping) else None
        if task not in ("emonet", "llm"):
            return values
        loss = values.get("loss") or {}
        if isinstance(loss, Mapping):
            values = {**values, "loss": {"kind": "cross_entropy", **loss}}
        return values if values.get(task) is not None else {**values, task: {}}

    @model_validator(mode="after")
    def _section_fits_task(self) -> ExperimentConfig:
        if self.task == "multitask" and self.multitask is None:
            raise ValueError("task multitask needs the section 'multitask' with its parts")
        for name in ("emonet", "llm", "multitask"):
            if self.task != name and getattr(self, name) is not None:
                raise ValueError(f"the section '{name}' belongs to task '{name}', but task is '{self.task}': remove the section or change the task")
        return self

    @model_validator(mode="after")
    def _settings_are_read(self) -> ExperimentConfig:
        """A setting that the task would pass over is a mistake that no figure shows."""
        if self.backbone.attention_dropout:
            raise ValueError("backbone.attention_dropout must be 0: encoders are trained without it, which is faster and no worse")
        if self.task != "utterance" and self.distillation is not None:
            raise ValueError(f"the section 'distillation' is for task 'utterance', but task is '{self.task}': remove the section")
        if self.task == "multitask":  # its parts have losses of their own
            return self
        independent = self.task == "utterance"
        if self.loss.kind != ("bce" if independent else "cross_entropy"):
            kind = "independent labels, by bce" if independent else "emotions that exclude each other, by cross_entropy"
            raise ValueError(f"loss.kind is '{self.loss.kind}', but task {self.task} learns {kind}: leave the key out")
        if independent and self.loss.class_weights not in ("none", "emcoder"):
            raise ValueError(f"loss.class_weights '{self.loss.class_weights}' weighs exclusive emotions: for independent labels use emcoder or none")
        if independent and self.loss.label_smoothing:
            raise ValueError("loss.label_smoothing is for exclusive emotions: leave it 0 for independent labels")
        if not independent and self.loss.class_weights == "emcoder":
            raise ValueError(
                "loss.class_weights 'emcoder' weighs independent labels: for exclusive emotions use min_over_count, inverse, sqrt_inverse or "
                "effective_number"
            )
        return self

    def to_yaml(self) -> str:
        """The whole resolved tree, defaults included, as YAML that `load_config` reads back to an equal configuration."""
        return yaml.safe_dump(self.model_dump(mode="json"), sort_keys=False, allow_unicode=True)


def load_config(path: str | Path, overrides: Sequence[str] = ()) -> ExperimentConfig:
    """Read an experiment from a YAML file and apply `section.key=value` overrides, whose values are read as YAML.

    An override with nothing after `=` sets null. Later overrides win over earlier ones.
    Raises ConfigError, naming file, line and key path, for a file that cannot be read, a key that is unknown or stands twice, and a
    value of the wrong type or out of range.
    """
    source = str(path)
    try:
        text = Path(path).read_text(encoding="utf-8")
    except FileNotFoundError:
        raise ConfigError(f"{source}: there is no such configuration file") from None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{source}: cannot be read as UTF-8 text: {error}") from error
    tree, lines = _parse(text, source)
    overridden: dict[tuple[str, ...], str] = {}
    for override in overrides:
        overridden[_apply(tree, override)] = override
    try:
        return ExperimentConfig.model_validate(tree)
    except ValidationError as error:
        problems = [f"{_place(found['loc'], source, lines, overridden)}: {_explain(found)}" for found in error.errors()]
        raise ConfigError("\n".join(problems)) from None


# --- reading YAML ---------------------------------------------------------------------------------------------------------------


class _Loader(yaml.SafeLoader):
    """The safe loader, with 1e-4 read as a number (YAML 1.2) and a key that stands twice refused."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        seen: dict[str, int] = {}
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode):
                continue  # the base class refuses such keys where they cannot be hashed, the schema refuses the rest
            if key.value in seen:
                problem = f"the key '{key.value}' stands twice in one section (first in line {seen[key.value]}): remove one"
                raise yaml.constructor.ConstructorError(None, None, problem, key.start_mark)
            seen[key.value] = key.start_mark.line + 1
        return super().construct_mapping(node, deep=deep)


_Loader.add_implicit_resolver("tag:yaml.org,2002:float", re.compile(r"^[-+]?(\d+\.?\d*|\.\d+)[eE][-+]?\d+$"), list("-+.0123456789"))


def _parse(text: str, source: str) -> tuple[dict[str, Any], dict[tuple[str, ...], int]]:
    """The mapping in `text`, and the line on which each key path stands."""
    try:
        loader = _Loader(text)
        try:
            node = loader.get_single_node()
            tree = {} if node is None else loader.construct_document(node)
        finally:
            loader.dispose()
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        place = source if mark is None else f"{source}:{mark.line + 1}"
        raise ConfigError(f"{place}: {_complaint(error)}") from None
    if not isinstance(tree, dict):
        raise ConfigError(f"{source}: a configuration is a mapping of keys to values, this is a {type(tree).__name__}")
    lines: dict[tuple[str, ...], int] = {}
    _collect_lines(node, (), lines)
    return tree, lines


def _collect_lines(node: yaml.Node | None, prefix: tuple[str, ...], lines: dict[tuple[str, ...], int]) -> None:
    if isinstance(node, yaml.MappingNode) and len(prefix) < 8:  # an alias may point at its own parent
        for key, value in node.value:
            path = (*prefix, str(key.value))
            lines[path] = key.start_mark.line + 1
            _collect_lines(value, path, lines)


def _complaint(error: yaml.YAMLError) -> str:
    """What the YAML reader says, without its own picture of the place."""
    said = [part for part in (getattr(error, "context", None), getattr(error, "problem", None)) if part]
    return ", ".join(said) or str(error)


def _apply(tree: dict[str, Any], override: str) -> tuple[str, ...]:
    """Write one `a.b=value` into `tree` and return its key path."""
    key, equals, text = override.partition("=")
    path = tuple(part.strip() for part in key.split("."))
    if not equals or not all(path):
        raise ConfigError(f"override '{override}': write section.key=value, for example optim.epochs=1")
    try:
        value = yaml.load(text, Loader=_Loader)  # a subclass of SafeLoader: plain values only
    except yaml.YAMLError as error:
        raise ConfigError(f"override '{override}': the value is not YAML: {_complaint(error)}") from None
    section = tree
    for depth, part in enumerate(path[:-1], start=1):
        if section.get(part) is None:
            section[part] = {}
        section = section[part]
        if not isinstance(section, dict):
            raise ConfigError(f"override '{override}': '{'.'.join(path[:depth])}' is a value, not a section")
    section[path[-1]] = value
    return path


# --- explaining what was refused ------------------------------------------------------------------------------------------------


def _place(loc: tuple[int | str, ...], source: str, lines: Mapping[tuple[str, ...], int], overridden: Mapping[tuple[str, ...], str]) -> str:
    """Where the refused value was written: an override, a line of the file, or the file."""
    path = tuple(str(part) for part in loc)
    for length in range(len(path), 0, -1):
        if path[:length] in overridden:
            return f"override '{overridden[path[:length]]}'"
        if path[:length] in lines:
            return f"{source}:{lines[path[:length]]}"
    return source


def _explain(found: ErrorDetails) -> str:
    path = [str(part) for part in found["loc"]]
    key, value, context = ".".join(path), found["input"], found.get("ctx", {})
    if found["type"] == "extra_forbidden":
        allowed = _keys_of(path[:-1])
        where = f"section '{'.'.join(path[:-1])}'" if path[:-1] else "the top level"
        return f"unknown key '{key}'{_nearest(path[-1], allowed)}. Known keys of {where}: {', '.join(allowed)}"
    if found["type"] == "missing":
        return f"the key '{key}' is required and missing"
    if found["type"] == "value_error":
        return str(context.get("error", found["msg"]))
    if path == ["schema_version"]:
        return f"schema_version {value!r} is not known: this version reads {SCHEMA_VERSION}"
    near = _nearest(value, re.findall(r"'([^']+)'", str(context.get("expected", "")))) if isinstance(value, str) else ""
    message = found["msg"][:1].lower() + found["msg"][1:]
    return f"'{key}' is {value!r}, but {message.replace('input ', 'it ', 1)}{near}"


def _nearest(word: str, candidates: Sequence[str]) -> str:
    close = difflib.get_close_matches(word, candidates, n=1, cutoff=0.5)
    return f" (did you mean '{close[0]}'?)" if close else ""


def _keys_of(path: Sequence[str]) -> list[str]:
    """The keys that the section at `path` knows."""
    model: type[BaseModel] = ExperimentConfig
    parts = iter(path)
    for part in parts:
        annotation = model.model_fields[part].annotation
        if typing.get_origin(annotation) is dict:
            next(parts, None)  # the entry's own name
        options = typing.get_args(annotation) or (annotation,)
        model = next(option for option in options if isinstance(option, type) and issubclass(option, BaseModel))
    return list(model.model_fields)
