"""The base of an experiment, and the base of the section that belongs to one task.

A new task subclasses `TaskSection`, gets a field in `ExperimentConfig` and an entry in its `TASK_SECTIONS`.
"""

from __future__ import annotations

from typing import Annotated, ClassVar, Final, Literal, Self

from pydantic import Field

from erc.config.sections import (
    ArtefactConfig,
    BackboneConfig,
    DataConfig,
    HeadConfig,
    LossConfig,
    LossKind,
    OptimConfig,
    Section,
    UncertaintyConfig,
)

SCHEMA_VERSION: Final = 1


class SharedSections(Section):
    """The keys of an experiment that every task has."""

    schema_version: Literal[1] = SCHEMA_VERSION
    name: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9._-]*$")]
    """Name of the run folder and the artefact: lower-case letters, digits, dot, dash, underscore."""
    task: str
    """A key of `TASK_SECTIONS` in `erc.config.experiment`."""
    data: DataConfig
    backbone: BackboneConfig = BackboneConfig()
    head: HeadConfig = HeadConfig()
    loss: LossConfig = LossConfig()
    optim: OptimConfig = OptimConfig()
    uncertainty: UncertaintyConfig = UncertaintyConfig()
    artefact: ArtefactConfig = ArtefactConfig()


class TaskSection(Section):
    """Base of the section that belongs to one task.

    Attributes:
        field: The section's key in the experiment; None for a task without settings of its own.
        when_absent: `default` takes the defaults, `none` leaves the section out, `refuse` is an error.
        loss_kind: The kind of loss of the task; None where its parts have losses of their own.
    """

    field: ClassVar[str | None] = None
    when_absent: ClassVar[Literal["default", "none", "refuse"]] = "none"
    loss_kind: ClassVar[LossKind | None] = "cross_entropy"

    @classmethod
    def check(cls, shared: SharedSections, section: Self | None) -> None:
        """Refuses settings that the task does not read; the base class accepts all.

        Raises:
            ValueError: For such a setting.
        """
