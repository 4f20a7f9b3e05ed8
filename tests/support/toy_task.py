"""A task that trains in a second: one layer over token counts predicts which of three words occur."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from erc.training.loop.settings import OptimSettings
from erc.training.loop.trainer import train

VOCABULARY = 12
SETTINGS = OptimSettings(
    learning_rate=0.05,
    head_learning_rate=0.1,
    epochs=3.0,
    batch_size=4,
    precision="fp32",
    seed=1,
    ema_decay=0.9,
    evaluations_per_epoch=2,
)
"""Six steps per epoch over 24 examples, evaluated and saved every three steps."""


class ToyNet(nn.Module):
    """Token counts (B, V) through dropout to logits (B, 3); `head` gets the head's learning rate."""

    def __init__(self, dropout: float = 0.2) -> None:
        super().__init__()
        self.dropout = dropout
        generator = torch.Generator().manual_seed(0)
        self.body = nn.Linear(VOCABULARY, 8)
        self.head = nn.Linear(8, 3)
        self.frozen = nn.Parameter(torch.ones(2), requires_grad=False)
        with torch.no_grad():
            for parameter in (*self.body.parameters(), *self.head.parameters()):
                parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.3)

    def forward(self, counts: Tensor) -> Tensor:
        return self.head(F.dropout(torch.tanh(self.body(counts)), self.dropout, self.training))


@dataclass
class ToyTask:
    """A task with texts of 2 to 9 tokens.

    Attributes:
        on_step: Called before the loss of a training batch, with its number from 1.
        score: The evaluation's score, from its number and its loss.
        greater_is_better: Whether a larger score is better.
        primary_metric: Name of the figure that selects the weights.
        count: Number of texts.
    """

    on_step: Callable[[int], None] = lambda step: None
    score: Callable[[int, float], float] = lambda evaluation, loss: -loss
    greater_is_better: bool = True
    primary_metric: str = "score"
    count: int = 24

    def __post_init__(self) -> None:
        generator = torch.Generator().manual_seed(5)
        self.examples: list[list[int]] = [
            torch.randint(0, VOCABULARY, (2 + number % 8,), generator=generator).tolist()
            for number in range(self.count)
        ]
        self.steps = 0
        self.evaluations = 0
        self.batches: list[list[int]] = []
        self.seen_weights: list[Tensor] = []

    @property
    def lengths(self) -> list[int]:
        return [len(example) for example in self.examples]

    def collate(self, examples: Sequence[list[int]]) -> dict[str, Tensor]:
        counts = torch.stack(
            [torch.bincount(torch.tensor(e), minlength=VOCABULARY).float() for e in examples]
        )
        return {
            "counts": counts,
            "targets": (counts[:, :3] > 0).float(),
            "lengths": torch.tensor([len(e) for e in examples]),
        }

    def loss(self, model: nn.Module, batch: dict[str, Tensor]) -> Tensor:
        self.steps += 1
        self.batches.append(batch["lengths"].tolist())
        self.on_step(self.steps)
        return F.binary_cross_entropy_with_logits(model(batch["counts"]), batch["targets"])

    def evaluate(self, model: nn.Module) -> dict[str, float]:
        assert not model.training
        self.evaluations += 1
        self.seen_weights.append(model.head.bias.detach().clone())  # type: ignore[union-attr, operator]
        batch = self.collate(self.examples)
        with torch.no_grad():
            loss = float(F.binary_cross_entropy_with_logits(model(batch["counts"]), batch["targets"]))
        return {"score": self.score(self.evaluations, loss), "loss": loss}

    def head_parameters(self, model: nn.Module) -> set[str]:
        return {name for name, _ in model.named_parameters() if name.startswith("head.")}


def run(
    folder: Path, task: ToyTask | None = None, *, resume: bool = True, dropout: float = 0.2, **changes: Any
) -> tuple[ToyNet, ToyTask, dict[str, float]]:
    """Trains a fresh net and returns it with its task and the figures of its best evaluation."""
    net, task = ToyNet(dropout), task or ToyTask()
    figures = train(
        model=net,
        task=task,
        optim=replace(SETTINGS, **changes),
        run_dir=folder,
        resume=resume,
        progress=False,
    )
    return net, task, figures
