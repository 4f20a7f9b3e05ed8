"""Dropout with a learnt rate (Gal, Hron, Kendall 2017, "Concrete dropout").

In training, a relaxed Bernoulli variable gives the rate a gradient. After training, the module works as a
`SeededDropout` with the learnt rate.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from erc.models.dropout import SeededDropout, active_draw

_EPSILON = 1e-7


class ConcreteDropout(SeededDropout):
    """Drops units of x (..., D) at a rate p = sigmoid(logit), a parameter of the model.

    Raises:
        ValueError: If the initial rate is not strictly between 0 and 1.
    """

    def __init__(self, p: float, *, site: int, temperature: float = 0.1) -> None:
        nn.Module.__init__(self)  # the parent's constructor would set p, which is computed here
        if not 0.0 < p < 1.0:
            raise ValueError(f"a learnt dropout cannot start at p={p}: it must be strictly between 0 and 1")
        self.site = site
        self.temperature = temperature
        self.logit = nn.Parameter(torch.tensor(math.log(p) - math.log1p(-p)))

    @property
    def p(self) -> float:  # type: ignore[override]
        """The current rate."""
        return float(torch.sigmoid(self.logit.detach()))

    def forward(self, x: Tensor) -> Tensor:
        """Relaxed dropout in training, else as `SeededDropout`."""
        if active_draw() is not None or not self.training:
            return super().forward(x)
        rate = torch.sigmoid(self.logit)
        noise = torch.rand_like(x, dtype=torch.float32).clamp(_EPSILON, 1.0 - _EPSILON)
        dropped = torch.sigmoid((self.logit + torch.logit(noise)) / self.temperature)
        return (x * (1.0 - dropped) / (1.0 - rate)).to(x.dtype)

    def regulariser(
        self, *, features: int, weights: Tensor, weight_scale: float, dropout_scale: float
    ) -> Tensor:
        """A scalar to add to the loss, which keeps the rate from 0 and 1 (equation 3 of the paper).

        Args:
            features: Number of the units that are dropped.
            weights: Weights of the layer that reads them.
            weight_scale: l^2 / N, with N training examples and prior length scale l.
            dropout_scale: 1 / N, or 2 / N for a squared error.
        """
        rate = torch.sigmoid(self.logit)
        negative_entropy = rate * torch.log(rate) + (1.0 - rate) * torch.log1p(-rate)
        return (
            weight_scale * weights.square().sum() / (1.0 - rate) + dropout_scale * features * negative_entropy
        )


def learn_dropout(model: nn.Module) -> list[ConcreteDropout]:
    """Replace each `SeededDropout` with a rate above 0 by a `ConcreteDropout` with its site; return them."""
    made: list[ConcreteDropout] = []
    for parent in list(model.modules()):
        for name, child in list(parent.named_children()):
            if type(child) is SeededDropout and child.p > 0.0:
                concrete = ConcreteDropout(child.p, site=child.site)
                setattr(parent, name, concrete)
                made.append(concrete)
    return made
