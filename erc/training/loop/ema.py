"""Exponential moving average of the weights, which is evaluated and saved instead of the weights."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from torch import Tensor, nn

from erc.files import load_whole, save_whole


class WeightAverage:
    """Average of the trained parameters: a <- d a + (1 - d) w after every step.

    The decay at step t is d = min(decay, (1 + t) / (10 + t)). It starts small, so that the first steps have
    little weight in a short run.
    """

    def __init__(self, model: nn.Module, *, decay: float) -> None:
        self.decay = decay
        self.steps = 0
        self.average: dict[str, Tensor] = {
            n: p.detach().clone() for n, p in model.named_parameters() if p.requires_grad
        }

    @torch.no_grad()
    def update(self, model: nn.Module) -> None:
        """Updates the average with the model's weights after an optimiser step."""
        self.steps += 1
        decay = min(self.decay, (1 + self.steps) / (10 + self.steps))
        current = {n: p for n, p in model.named_parameters() if n in self.average}
        self.average = {
            n: value.to(current[n].device) for n, value in self.average.items()
        }  # the library moves the model to its device when training starts
        torch._foreach_lerp_(
            [self.average[n] for n in current], [p.detach() for p in current.values()], 1.0 - decay
        )

    @contextmanager
    def applied(self, model: nn.Module) -> Iterator[None]:
        """Puts the averaged weights into the model within the block."""
        parameters = {n: p for n, p in model.named_parameters() if n in self.average}
        backup = {n: p.detach().clone() for n, p in parameters.items()}
        self.copy_to(model)
        try:
            yield
        finally:
            with torch.no_grad():
                for name, parameter in parameters.items():
                    parameter.copy_(backup[name])

    @torch.no_grad()
    def copy_to(self, model: nn.Module) -> None:
        """Copies the averaged weights into the model."""
        for name, parameter in model.named_parameters():
            if name in self.average:
                parameter.copy_(self.average[name])

    def save(self, path: Path) -> None:
        """Writes the average and its step count as safetensors."""
        save_whole({**self.average, "_steps": torch.tensor(self.steps)}, path)

    def load(self, path: Path) -> None:
        """Reads an average written by `save`.

        Raises:
            ArtefactError: If the file is missing or damaged.
        """
        state = load_whole(path)
        self.steps = int(state.pop("_steps"))
        for name, value in state.items():
            self.average[name].copy_(value)
