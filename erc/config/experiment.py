"""The whole configuration of one experiment, and the section of each task."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Final

import yaml
from pydantic import AfterValidator, model_validator
from pydantic_core import PydanticCustomError

from erc.config.emonet import EmoNetConfig
from erc.config.llm import LlmConfig
from erc.config.multitask import MultitaskConfig
from erc.config.sections import LossConfig
from erc.config.tasks import SharedSections, TaskSection
from erc.config.utterance import DistillationConfig

TASK_SECTIONS: Final[dict[str, type[TaskSection]]] = {
    "utterance": DistillationConfig,
    "emonet": EmoNetConfig,
    "llm": LlmConfig,
    "multitask": MultitaskConfig,
}
"""The section of every task."""


def _known_task(task: str) -> str:
    if task not in TASK_SECTIONS:
        *most, last = (f"'{name}'" for name in TASK_SECTIONS)
        expected = f"{', '.join(most)} or {last}"
        raise PydanticCustomError("literal_error", "Input should be {expected}", {"expected": expected})
    return task


class ExperimentConfig(SharedSections):
    """The configuration of one training run."""

    task: Annotated[str, AfterValidator(_known_task)]
    distillation: DistillationConfig | None = None
    """Present if an utterance classifier learns from teachers."""
    emonet: EmoNetConfig | None = None
    """Present exactly if `task` is `emonet`."""
    llm: LlmConfig | None = None
    """Present exactly if `task` is `llm`."""
    multitask: MultitaskConfig | None = None
    """Present exactly if `task` is `multitask`."""

    @model_validator(mode="before")
    @classmethod
    def _fill_in(cls, values: Any) -> Any:
        """Adds the task's own section and kind of loss if they are left out."""
        task = values.get("task") if isinstance(values, Mapping) else None
        section = TASK_SECTIONS.get(task) if isinstance(task, str) else None
        if section is None:
            return values
        loss = values.get("loss") or {}
        if section.loss_kind is not None and isinstance(loss, Mapping):
            values = {**values, "loss": {"kind": section.loss_kind, **loss}}
        if (
            section.field is not None
            and section.when_absent == "default"
            and values.get(section.field) is None
        ):
            values = {**values, section.field: {}}
        return values

    @model_validator(mode="after")
    def _sections_fit_the_task(self) -> ExperimentConfig:
        own = TASK_SECTIONS[self.task]
        for task, section in TASK_SECTIONS.items():
            if section is not own and section.field is not None and getattr(self, section.field) is not None:
                raise ValueError(
                    f"the section '{section.field}' is for task '{task}', but task is '{self.task}': "
                    "remove the section or change the task"
                )
        found = None if own.field is None else getattr(self, own.field)
        if found is None and own.when_absent == "refuse":
            raise ValueError(f"task {self.task} needs the section '{own.field}'")
        if self.backbone.attention_dropout:
            raise ValueError(
                "backbone.attention_dropout must be 0: encoders are trained without it, "
                "which is faster and no worse"
            )
        own.check(self, found)
        if own.loss_kind is not None:
            _check_loss(self.loss, own, self.task)
        return self

    def to_yaml(self) -> str:
        """The resolved configuration, defaults included, as YAML that `load_config` reads back."""
        return yaml.safe_dump(self.model_dump(mode="json"), sort_keys=False, allow_unicode=True)


def _check_loss(loss: LossConfig, section: type[TaskSection], task: str) -> None:
    """Raises ValueError for settings of the loss that do not fit the labels of the task."""
    independent = section.loss_kind == "bce"
    if loss.kind != section.loss_kind:
        labels = "independent labels" if independent else "exclusive emotions"
        raise ValueError(
            f"loss.kind is '{loss.kind}', but task {task} has {labels} and uses {section.loss_kind}: "
            "leave the key out"
        )
    if independent and loss.class_weights not in ("none", "emcoder"):
        raise ValueError(
            f"loss.class_weights '{loss.class_weights}' is for exclusive emotions: "
            "for independent labels use emcoder or none"
        )
    if independent and loss.label_smoothing:
        raise ValueError("loss.label_smoothing is for exclusive emotions: leave it 0 for independent labels")
    if not independent and loss.class_weights == "emcoder":
        raise ValueError(
            "loss.class_weights 'emcoder' is for independent labels: for exclusive emotions use "
            "min_over_count, inverse, sqrt_inverse or effective_number"
        )
