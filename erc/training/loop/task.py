"""What a task hands to the Trainer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol, runtime_checkable

from torch import Tensor, nn

Batch = dict[str, Tensor]


class Task(Protocol):
    """A training set, how to batch it, its loss, and how a model is judged on the dev split."""

    primary_metric: str
    greater_is_better: bool

    @property
    def examples(self) -> Sequence[Any]:
        """The training examples, in a fixed order."""
        ...

    @property
    def lengths(self) -> Sequence[int]:
        """Tokens of each example; batches are filled with neighbours in length."""
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
        """Names of parameters that start from scratch and take the head's learning rate."""
        ...


@runtime_checkable
class MixedTask(Protocol):
    """A task of several kinds of examples, each of which is spread evenly over an epoch's batches."""

    @property
    def kinds(self) -> Sequence[int]:
        """The kind of each example, from 0; examples of one kind stand together."""
        ...


@runtime_checkable
class WeighedTask(Protocol):
    """A task whose loss is a sum of means over varying numbers of items, such as labelled turns.

    If several processes or parts make one step, each mean is weighted by its number of items, so the step
    equals
    that of one batch. Losses of other tasks are averaged.
    """

    def loss_terms(self, model: nn.Module, batch: Batch) -> Sequence[tuple[Tensor, Tensor]]:
        """The means whose sum is the loss of a batch, each with what it was divided by; all scalars."""
        ...

    def loss_weights(self, batch: Batch) -> Sequence[Tensor]:
        """What the means of `loss_terms` are divided by, without a model."""
        ...
