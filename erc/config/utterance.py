"""The section of task `utterance`, the utterance classifier."""

from __future__ import annotations

from typing import ClassVar

from erc.config.sections import LossKind, PositiveFloat, PositiveInt, Rate
from erc.config.tasks import TaskSection


class DistillationConfig(TaskSection):
    """Teachers of the same architecture, trained first with other seeds; they add a second loss term."""

    field: ClassVar[str] = "distillation"
    loss_kind: ClassVar[LossKind] = "bce"

    teachers: PositiveInt = 3
    teacher_epochs: PositiveFloat = 2.0
    soft_share: Rate = 0.5
    """Share of the loss against the teachers' mean output instead of the labels."""
