"""The whole tree of one experiment, and which sections belong to which task."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Final, Literal

import yaml
from pydantic import Field, model_validator

from erc.config.sections import (
    ArtefactConfig,
    BackboneConfig,
    DataConfig,
    DistillationConfig,
    EmoNetConfig,
    HeadConfig,
    LlmConfig,
    LossConfig,
    MultitaskConfig,
    OptimConfig,
    Section,
    UncertaintyConfig,
)

SCHEMA_VERSION: Final = 1


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
                raise ValueError(
                    f"the section '{name}' belongs to task '{name}', but task is '{self.task}': remove the section or change the task"
                )
        return self

    @model_validator(mode="after")
    def _settings_are_read(self) -> ExperimentConfig:
        """A setting that the task would pass over is a mistake that no figure shows."""
        if self.backbone.attention_dropout:
            raise ValueError(
                "backbone.attention_dropout must be 0: encoders are trained without it, which is faster and no worse"
            )
        if self.task != "utterance" and self.distillation is not None:
            raise ValueError(
                f"the section 'distillation' is for task 'utterance', but task is '{self.task}': remove the section"
            )
        if self.task == "multitask":  # its parts have losses of their own
            return self
        if self.task == "llm":
            self._language_model_reads()
        independent = self.task == "utterance"
        if self.loss.kind != ("bce" if independent else "cross_entropy"):
            kind = (
                "independent labels, by bce"
                if independent
                else "emotions that exclude each other, by cross_entropy"
            )
            raise ValueError(
                f"loss.kind is '{self.loss.kind}', but task {self.task} learns {kind}: leave the key out"
            )
        if independent and self.loss.class_weights not in ("none", "emcoder"):
            raise ValueError(
                f"loss.class_weights '{self.loss.class_weights}' weighs exclusive emotions: for independent labels use emcoder or none"
            )
        if independent and self.loss.label_smoothing:
            raise ValueError(
                "loss.label_smoothing is for exclusive emotions: leave it 0 for independent labels"
            )
        if not independent and self.loss.class_weights == "emcoder":
            raise ValueError(
                "loss.class_weights 'emcoder' weighs independent labels: for exclusive emotions use min_over_count, inverse, sqrt_inverse or "
                "effective_number"
            )
        return self

    def _language_model_reads(self) -> None:
        """Raises ValueError for a setting of encoders beside a language model, and for one of retrieval where nothing is retrieved."""
        told = {
            "backbone": "a language model's base is llm.base",
            "head": "a language model answers in words and has no head",
            "uncertainty": "an adapter's dropout is sampled as `erc label --samples` says",
            "artefact": "an adapter is saved whole, and starts from llm.base",
        }
        for name, instead in told.items():
            if getattr(self, name) != ExperimentConfig.model_fields[name].default:
                raise ValueError(
                    f"the section '{name}' is for encoders, but task is 'llm': remove the section ({instead})"
                )
        if self.data.max_tokens != DataConfig.model_fields["max_tokens"].default:
            raise ValueError(
                "data.max_tokens is for encoders, but task is 'llm': leave it out (the length of a prompt is llm.max_tokens)"
            )
        if self.optim.head_learning_rate != OptimConfig.model_fields["head_learning_rate"].default:
            raise ValueError(
                "optim.head_learning_rate is for encoders, but task is 'llm': leave it out (adapters learn at optim.learning_rate)"
            )
        if self.llm is not None and not self.llm.history and self.llm.retrieval in ("similarity", "both"):
            raise ValueError(
                f"llm.retrieval '{self.llm.retrieval}' chooses among past turns, but llm.history shows 0 of them: set llm.history"
            )

    def to_yaml(self) -> str:
        """The whole resolved tree, defaults included, as YAML that `load_config` reads back to an equal configuration."""
        return yaml.safe_dump(self.model_dump(mode="json"), sort_keys=False, allow_unicode=True)
