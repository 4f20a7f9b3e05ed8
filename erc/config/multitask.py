"""The section of task `multitask`, several models over one encoder."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from erc.config.sections import Name, NonNegativeFloat, PositiveFloat, Rate
from erc.config.tasks import TaskSection


class MultitaskConfig(TaskSection):
    """Configurations trained together over one encoder: an utterance classifier and conversation models."""

    field: ClassVar[str] = "multitask"
    when_absent: ClassVar[Literal["refuse"]] = "refuse"
    loss_kind: ClassVar[None] = None  # each part has its own

    parts: Annotated[dict[Name, PositiveFloat], Field(min_length=2)]
    """Names or files of the configurations and the weight of each loss; the utterance classifier is first."""
    text_share: Annotated[float, Field(gt=0.0, le=1.0)] = 1.0
    """Share of the classifier's training texts that is used.

    A small share is enough to keep the quality of a classifier that is already trained.
    """
    soft_share: Rate = 0.0
    """Share of the classifier's loss against the output of the classifier that it starts from."""
    head_epochs: NonNegativeFloat = 2.0
    """Further epochs for each conversation model's own parts, such as its memory, with the encoder frozen."""
