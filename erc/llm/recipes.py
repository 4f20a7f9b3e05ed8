"""Recipes: what the prompts of a system show, and the stages in which its adapter is trained.

InstructERC, CKERC, BiosERC, LaERC-S and the speaker-memory recipe share one code path
(`configs/llm-*.yaml`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from erc.emotions import EmotionSet
from erc.errors import ConfigError
from erc.llm.embedding import SHARED
from erc.llm.prompts.notes import Retrieval
from erc.llm.prompts.tasks import TASKS, Characteristic, TaskName

GENERATED: frozenset[TaskName] = frozenset({"speaker_characteristic", "interlocutor_commonsense"})
"""Tasks whose answers a language model writes before training."""
OWN_BASE = "base"
"""The value of `llm.writer` for the base model itself."""


def require_one_of(emotions: EmotionSet) -> tuple[str, ...]:
    """The labels of a set in which exactly one label holds at a time.

    Raises:
        ConfigError: several labels of the set may hold at once.
    """
    if emotions.multi_label:
        raise ConfigError(
            f"several labels of the set '{emotions.name}' may hold at once, but a recipe trains on exactly "
            "one: use a corpus whose turns have one emotion each (a language model without "
            "an adapter answers `--emotions goemotions` by a question for each label)"
        )
    return emotions.labels


@dataclass(frozen=True, slots=True)
class Stage:
    """One stage of training: its tasks with the weights of their losses.

    Attributes:
        name: Name of the stage and of its folder.
        tasks: Weight of the loss, by task.
        epochs: Epochs of the stage; None takes those of the run.
        learning_rate: Learning rate of the stage; None takes that of the run.
        characteristic: What the task `speaker_characteristic` learns.
    """

    name: str
    tasks: Mapping[TaskName, float]
    epochs: float | None = None
    learning_rate: float | None = None
    characteristic: Characteristic = "oReact"

    def __post_init__(self) -> None:
        if unknown := sorted(set(self.tasks) - set(TASKS)):
            raise ConfigError(f"stage '{self.name}': no task '{unknown[0]}'; there are {', '.join(TASKS)}")
        if not self.tasks or any(weight <= 0 for weight in self.tasks.values()):
            raise ConfigError(f"stage '{self.name}': it needs tasks, each with a positive weight")


@dataclass(frozen=True, slots=True)
class Recipe:
    """What prompts show, and the stages in which an adapter is trained.

    Attributes:
        stages: The stages in order; the last one trains the task `erc`.
        bios: Whether prompts show bios of the speakers.
        history: Most past turns of the target's speaker.
        retrieval: How past turns are chosen.
        demonstrations: Most labelled turns of the training corpus.
        demonstration_names: Whether demonstrations show the names of their speakers.
        balanced_demonstrations: Whether they come from equally many turns of each label.
        embedder: `shared`, or the sentence-transformers model that finds them.
    """

    stages: tuple[Stage, ...]
    bios: bool = False
    history: int = 0
    retrieval: Retrieval = "recency"
    demonstrations: int = 0
    demonstration_names: bool = True
    balanced_demonstrations: bool = False
    embedder: str = SHARED

    def __post_init__(self) -> None:
        if not self.stages or "erc" not in self.stages[-1].tasks:
            raise ConfigError(
                "the last stage of a recipe must train the task erc: it is what labels are scored with"
            )

    @property
    def needs_notes(self) -> bool:
        """Whether prompts read a speaker memory."""
        return self.bios or (self.history > 0 and self.retrieval != "none")

    @property
    def generated(self) -> tuple[TaskName, ...]:
        """The tasks whose answers a model writes before training."""
        return tuple(
            task for task in TASKS if task in GENERATED and any(task in stage.tasks for stage in self.stages)
        )


def answers_of(task: TaskName, stage: Stage) -> str:
    """The name of a stage's generated answers; for characteristics `speaker_characteristic/oReact`."""
    return f"{task}/{stage.characteristic}" if task == "speaker_characteristic" else task


def writing_model(writer: str | None, *, base: str, revision: str | None) -> tuple[str, str | None]:
    """Name and revision of the model that writes for a recipe: `writer`, or the base itself."""
    return (base, revision) if writer in (None, OWN_BASE) else (str(writer).removeprefix("llm:"), None)
