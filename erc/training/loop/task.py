"""The interface between a training task and the Trainer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol, runtime_checkable

from torch import Tensor, nn

Batch = dict[str, Tensor]


class Task(Protocol):
    """A training set, its batches, its loss, and its evaluation on the dev split."""

    primary_metric: str
    greater_is_better: bool

    @property
    def examples(self) -> Sequence[Any]:
        """The training examples, in a fixed order."""
        ...

    @property
    def lengths(self) -> Sequence[int]:
        """Tokens of each example; batches hold examples of similar length."""
        ...

    def collate(self, examples: Sequence[Any]) -> Batch:
        """Pads examples into tensors."""
        ...

    def loss(self, model: nn.Module, batch: Batch) -> Tensor:
        """The mean loss of a batch, a scalar."""
        ...

    def evaluate(self, model: nn.Module) -> dict[str, float]:
        """Figures on the dev split; `primary_metric` is one of the keys. The model is in evaluation mode."""
        ...

    def head_parameters(self, model: nn.Module) -> set[str]:
        """Names of the parameters that take the head's learning rate, because they are not pretrained."""
        ...


@runtime_checkable
class MixedTask(Protocol):
    """A task with several kinds of examples; each kind is spread evenly over the batches of an epoch."""

    @property
    def kinds(self) -> Sequence[int]:
        """The kind of each example, from 0; examples of one kind are adjacent."""
        ...


@runtime_checkable
class WeighedTask(Protocol):
    """A task whose loss is a sum of means over varying numbers of items, such as labelled turns.

    If several processes or parts make one step, each mean is weighted by its number of items. So the step
    equals that of one batch. Losses of other tasks are averaged.
    """

    def loss_terms(self, model: nn.Module, batch: Batch) -> Sequence[tuple[Tensor, Tensor]]:
        """The means whose sum is the loss of a batch, each with its divisor; all scalars."""
        ...

    def loss_weights(self, batch: Batch) -> Sequence[Tensor]:
        """The divisors of `loss_terms`, without running the model."""
        ...
