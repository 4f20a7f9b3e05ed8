"""Exponential moving average of the weights; what is evaluated and shipped is the average."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from torch import Tensor, nn

from erc.files import load_whole, save_whole


class WeightAverage:
    """Average of the trained parameters: a <- d a + (1 - d) w after every step.

    The decay d = min(decay, (1 + t) / (10 + t)) rises from small values, so that the first steps of a short
    run
    weigh little.
    """

    def __init__(self, model: nn.Module, *, decay: float) -> None:
        self.decay = decay
        self.steps = 0
        self.average: dict[str, Tensor] = {
            n: p.detach().clone() for n, p in model.named_parameters() if p.requires_grad
        }

    @torch.no_grad()
    def update(self, model: nn.Module) -> None:
        """Takes in the model's weights after an optimiser step."""
        self.steps += 1
        decay = min(self.decay, (1 + self.steps) / (10 + self.steps))
        current = {n: p for n, p in model.named_parameters() if n in self.average}
        self.average = {
            n: value.to(current[n].device) for n, value in self.average.items()
        }  # the library moves the model once it has begun
        torch._foreach_lerp_(
            [self.average[n] for n in current], [p.detach() for p in current.values()], 1.0 - decay
        )

    @contextmanager
    def applied(self, model: nn.Module) -> Iterator[None]:
        """Within the block the model holds the averaged weights."""
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
        """Leaves the averaged weights in the model."""
        for name, parameter in model.named_parameters():
            if name in self.average:
                parameter.copy_(self.average[name])

    def save(self, path: Path) -> None:
        """Writes the average and its step count as safetensors."""
        save_whole({**self.average, "_steps": torch.tensor(self.steps)}, path)

    def load(self, path: Path) -> None:
        """Takes up an average written by `save`."""
        state = load_whole(path)
        self.steps = int(state.pop("_steps"))
        for name, value in state.items():
            self.average[name].copy_(value)
