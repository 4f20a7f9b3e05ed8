"""The section of task `llm`, the language model with an adapter."""

from __future__ import annotations

from typing import Annotated, ClassVar, Final, Literal, Self

from pydantic import Field

from erc.config.sections import Name, NonNegativeFloat, PositiveFloat, PositiveInt, Rate, Section
from erc.config.tasks import SharedSections, TaskSection

_ENCODER_SECTIONS: Final = {
    "backbone": "the base of a language model is llm.base",
    "head": "a language model answers in words and has no head",
    "uncertainty": "the number of dropout samples is set with `erc label --samples`",
    "artefact": "an adapter is always saved whole and starts from llm.base",
}
_ENCODER_KEYS: Final = {
    "data.max_tokens": "the length of a prompt is llm.max_tokens",
    "optim.head_learning_rate": "adapters use optim.learning_rate",
}


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
    """The characteristic that task speaker_characteristic learns."""


class LlmConfig(TaskSection):
    """The language model: base model, adapter, contents of the prompt, and the stages of training."""

    field: ClassVar[str] = "llm"
    when_absent: ClassVar[Literal["default"]] = "default"

    base: Name = "Qwen/Qwen2.5-1.5B-Instruct"
    revision: Name | None = None
    precision: Literal["auto", "fp32", "bf16", "4bit"] = "auto"
    lora: LoraConfig = LoraConfig()
    max_tokens: Annotated[int, Field(ge=64)] = 1024
    """Tokens of a whole prompt; the oldest turns are dropped first, the target never."""
    turns: Annotated[int, Field(ge=0)] | None = 12
    block: PositiveInt = 4
    """Turns that are dropped together, so that consecutive prompts have the same beginning."""
    bios: bool = False
    history: Annotated[int, Field(ge=0)] = 0
    """Maximum number of past turns of the speaker in the prompt, with predicted emotions."""
    retrieval: Literal["recency", "similarity", "both", "none"] = "recency"
    demonstrations: Annotated[int, Field(ge=0)] = 0
    dev_sees_train: bool = False
    """Whether bios and past turns on dev include earlier conversations of the training split."""
    demonstration_names: bool = True
    """Whether the lines of a demonstration begin with the names of their speakers."""
    balanced_demonstrations: bool = False
    """Whether demonstrations come from a subset of the corpus with equally many turns of each label."""
    embedder: Name = "shared"
    """The model that finds demonstrations: `shared` (the classifier) or a sentence-transformers model."""
    writer: Name | None = None
    """The language model that writes a recipe's texts: a folder, a hub id, or `base` for the base model.

    With None the base model writes answers, and bios are computed from counts.
    """
    loss: Literal["tokens", "labels", "both"] = "tokens"
    neftune: NonNegativeFloat = 0.0
    pack_tokens: PositiveInt | None = 2048
    """Tokens of a row that several examples share; None gives every example its own row."""
    gradient_checkpointing: bool = False
    stages: Annotated[dict[Name, LlmStageConfig], Field(min_length=1)] = Field(
        default_factory=lambda: {"erc": LlmStageConfig(tasks={"erc": 1.0})}
    )
    """Stages by name, trained in this order."""

    @classmethod
    def check(cls, shared: SharedSections, section: Self | None) -> None:
        """Checks that no setting is for encoders, and that retrieval has past turns to select from.

        Raises:
            ValueError: If one of these fails.
        """
        for name, instead in _ENCODER_SECTIONS.items():
            if getattr(shared, name) != type(shared).model_fields[name].default:
                raise ValueError(
                    f"the section '{name}' is for encoders, but task is 'llm': remove the section ({instead})"
                )
        for key, instead in _ENCODER_KEYS.items():
            place, _, field = key.partition(".")
            found = getattr(shared, place)
            if getattr(found, field) != type(found).model_fields[field].default:
                raise ValueError(f"{key} is for encoders, but task is 'llm': leave it out ({instead})")
        if section is not None and not section.history and section.retrieval in ("similarity", "both"):
            raise ValueError(
                f"llm.retrieval '{section.retrieval}' selects from past turns, "
                "but llm.history is 0: set llm.history"
            )
