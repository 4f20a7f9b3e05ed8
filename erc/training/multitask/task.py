"""Several tasks over one encoder: each batch mixes examples of all tasks in proportion to their number.

Shapes: K tasks, N examples of all.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from erc.training.loop.task import Batch, Task


class TaskExample(NamedTuple):
    """An example and the task it belongs to."""

    task: str
    example: Any


class MultiTaskModel(nn.Module):
    """Models by task name that share parts, such as the encoder; shared weights are trained by all tasks.

    The state holds a shared weight once, under the name of the first task that has it, because safetensors
    refuses shared tensors.
    """

    def __init__(self, parts: Mapping[str, nn.Module]) -> None:
        super().__init__()
        self.parts = nn.ModuleDict(parts)

    def forward(self, *, task: str, **inputs: Any) -> Any:
        """Run the model of one task."""
        return self.parts[task](**inputs)

    def state_dict(self, *args: Any, **kwargs: Any) -> dict[str, Any]:  # type: ignore[override]
        """All weights, shared ones once."""
        shared = self._shared()
        return {
            name: value for name, value in super().state_dict(*args, **kwargs).items() if name not in shared
        }

    def load_state_dict(
        self, state_dict: Mapping[str, Any], strict: bool = True, assign: bool = False
    ) -> Any:
        """Load what `state_dict` gave."""
        again = {name: state_dict[first] for name, first in self._shared().items() if first in state_dict}
        return super().load_state_dict({**state_dict, **again}, strict=strict, assign=assign)

    def _shared(self) -> dict[str, str]:
        """The first name of each shared weight, by its other names."""
        first: dict[int, str] = {}
        named = [*self.named_parameters(remove_duplicate=False), *self.named_buffers(remove_duplicate=False)]
        return {name: first[id(value)] for name, value in named if first.setdefault(id(value), name) != name}


class MultiTask:
    """Trains a `MultiTaskModel`.

    The loss of a batch is the sum over tasks of w * L * n / (B * p), with the task's weight w, its mean loss
    L over its n examples in the batch of B, and its share p of all examples. So over an epoch the influence
    of a task depends on its weight alone, not on its number of examples. A dev evaluation returns the figures
    of every task under its name, and the mean of the primary metrics, which chooses the checkpoint.

    Raises:
        ValueError: If a task's name has a slash or dot, or its primary metric is better if smaller.
    """

    primary_metric = "mean_primary"
    greater_is_better = True

    def __init__(self, tasks: Mapping[str, Task], *, weights: Mapping[str, float] | None = None) -> None:
        if any("/" in name or "." in name for name in tasks):
            raise ValueError(f"task names may hold no slash or dot: {', '.join(tasks)}")
        if not all(task.greater_is_better for task in tasks.values()):
            raise ValueError(
                "a mean of primary metrics needs tasks whose primary metric is better if greater"
            )
        self.tasks = dict(tasks)
        self.weights = {name: 1.0 if weights is None else weights[name] for name in self.tasks}

    @property
    def examples(self) -> Sequence[TaskExample]:
        """The training examples of all tasks, task after task."""
        return [TaskExample(name, example) for name, task in self.tasks.items() for example in task.examples]

    @property
    def kinds(self) -> list[int]:
        """Index of each example's task, (N,)."""
        return [number for number, task in enumerate(self.tasks.values()) for _ in task.examples]

    @property
    def lengths(self) -> list[int]:
        """Tokens of each example, (N,)."""
        return [length for task in self.tasks.values() for length in task.lengths]

    def collate(self, examples: Sequence[TaskExample]) -> Batch:
        """One batch a task, with the task's name in front of each key."""
        batch: Batch = {}
        for name, task in self.tasks.items():
            own = [example.example for example in examples if example.task == name]
            if own:
                batch |= {f"{name}/{key}": value for key, value in task.collate(own).items()}
                batch[f"{name}/#"] = torch.tensor(len(own))
        return batch

    def loss(self, model: nn.Module, batch: Batch) -> Tensor:
        """The weighted sum of the tasks' losses."""
        assert isinstance(model, MultiTaskModel)
        counts = {name: int(batch[f"{name}/#"]) for name in self.tasks if f"{name}/#" in batch}
        sizes = {name: len(task.examples) for name, task in self.tasks.items()}
        total: Tensor | None = None
        for name, count in counts.items():
            own = {
                key.partition("/")[2]: value
                for key, value in batch.items()
                if key.startswith(f"{name}/") and not key.endswith("/#")
            }
            expected = sum(counts.values()) * sizes[name] / sum(sizes.values())
            loss = self.tasks[name].loss(model.parts[name], own) * (self.weights[name] * count / expected)
            total = loss if total is None else total + loss
        assert total is not None
        return total

    def evaluate(self, model: nn.Module) -> dict[str, float]:
        """Dev figures of every task under its name, and the mean of their primary metrics."""
        assert isinstance(model, MultiTaskModel)
        figures: dict[str, float] = {}
        primary = []
        for name, task in self.tasks.items():
            own = task.evaluate(model.parts[name])
            primary.append(own[task.primary_metric])
            figures |= {f"{name}_{key}": value for key, value in own.items()}
        return figures | {self.primary_metric: sum(primary) / len(primary)}

    def head_parameters(self, model: nn.Module) -> set[str]:
        """Names of all parameters outside the shared encoder."""
        assert isinstance(model, MultiTaskModel)
        own = {
            f"parts.{name}.{key}"
            for name, task in self.tasks.items()
            for key in task.head_parameters(model.parts[name])
        }
        return {name for name in own if ".encoder." not in name}
