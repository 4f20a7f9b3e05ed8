"""Dropout whose Monte-Carlo samples are drawn networks, not noise of a global generator.

Sample s of seed r is one Bernoulli draw of the whole network: the mask at a site depends on (seed, sample,
site, token position, feature) and on nothing else. So a prediction does not depend on which utterances share
its batch, on their order, on padding or on how the batch is cut, and samples of different turns belong to the
same drawn network.

The model stays in evaluation mode throughout. Which draw is active is kept in a context variable, which every
thread has for itself; no module is switched, so a deterministic pass in another thread or afterwards is
untouched. Method: Gal and Ghahramani 2016, "Dropout as a Bayesian approximation".
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from erc.errors import NoDropoutError

_BLOCK = 32  # token positions drawn at a time: a longer text extends the masks of a shorter one


@lru_cache(maxsize=4096)
def _keep_block(seed: int, sample: int, site: int, block: int, features: int, p: float) -> Tensor:
    """Keep-mask of one block of token positions, bool (_BLOCK, features)."""
    digest = hashlib.blake2b(f"{seed}/{sample}/{site}/{block}".encode(), digest_size=8).digest()
    generator = torch.Generator().manual_seed(int.from_bytes(digest, "little") >> 1)
    return torch.rand(_BLOCK, features, generator=generator) >= p


def _keep(seed: int, sample: int, site: int, tokens: int, features: int, p: float) -> Tensor:
    """Keep-mask (tokens, features) of one sample at one site."""
    blocks = [_keep_block(seed, sample, site, block, features, p) for block in range(-(-tokens // _BLOCK))]
    return torch.cat(blocks)[:tokens] if len(blocks) > 1 else blocks[0][:tokens]


@dataclass(frozen=True, slots=True)
class Draw:
    """The networks a pass runs: rows are laid out sample by sample, `len(samples)` times the same B inputs.

    `positions` (B, T) gives each token's position where it is not simply its column (several utterances in
    one row).
    """

    seed: int
    samples: tuple[int, ...]
    positions: Tensor | None = None

    def apply(self, x: Tensor, *, site: int, p: float) -> Tensor:
        """Drops units of x, shape (S*B, D) or (S*B, T, D), and rescales by 1 / (1 - p)."""
        count = len(self.samples)
        if x.shape[0] % count:
            raise ValueError(f"{x.shape[0]} rows cannot hold {count} samples of the same inputs")
        features = x.shape[-1]
        if x.dim() == 2:
            keep = torch.stack([_keep(self.seed, s, site, 1, features, p) for s in self.samples])  # (S, 1, D)
        elif self.positions is None:
            keep = torch.stack([_keep(self.seed, s, site, x.shape[1], features, p) for s in self.samples])[
                :, None
            ]  # (S, 1, T, D)
        else:
            positions = self.positions.cpu()  # masks are drawn on the processor, whatever computes with them
            tokens = int(positions.max()) + 1
            keep = torch.stack(
                [_keep(self.seed, s, site, tokens, features, p)[positions] for s in self.samples]
            )  # (S, B, T, D)
        scale = keep.to(device=x.device, dtype=x.dtype) / (1.0 - p)
        return (x.view(count, -1, *x.shape[1:]) * scale).view_as(x)

    def dropped(self, *, site: int, features: int, p: float) -> tuple[Tensor, Tensor]:
        """Which units of a vector each network leaves out: their indices (S, K), K of the most, and bool (S, K), False for filling."""
        gone = [(~_keep(self.seed, s, site, 1, features, p)[0]).nonzero().squeeze(1) for s in self.samples]
        index = nn.utils.rnn.pad_sequence(gone, batch_first=True)
        counts = torch.tensor([len(units) for units in gone])
        return index, torch.arange(index.shape[1]) < counts[:, None]


_ACTIVE: ContextVar[Draw | None] = ContextVar("convemo_draw", default=None)


@contextmanager
def drawn(draw: Draw) -> Iterator[None]:
    """Within the block, every `SeededDropout` of this thread applies `draw`."""
    token = _ACTIVE.set(draw)
    try:
        yield
    finally:
        _ACTIVE.reset(token)


def active_draw() -> Draw | None:
    """The draw this thread runs under, or None in a deterministic pass."""
    return _ACTIVE.get()


class SeededDropout(nn.Module):
    """Ordinary dropout in training, a `Draw` where one is active, the identity otherwise.

    `site` numbers the place in the network; it is part of the mask's key.
    """

    def __init__(self, p: float, *, site: int) -> None:
        super().__init__()
        if not 0.0 <= p < 1.0:
            raise ValueError(f"dropout p={p} is not in [0, 1)")
        self.p = p
        self.site = site

    def forward(self, x: Tensor) -> Tensor:
        draw = _ACTIVE.get()
        if draw is None or self.p == 0.0:
            return F.dropout(x, self.p, self.training)
        return draw.apply(x, site=self.site, p=self.p)

    def extra_repr(self) -> str:
        return f"p={self.p}, site={self.site}"


def require_dropout(module: nn.Module, *, name: str) -> None:
    """Raises NoDropoutError where `module` has no dropout that was switched on in training."""
    rates = [part.p for part in module.modules() if isinstance(part, SeededDropout)]
    if not any(rates):
        found = "none of its dropouts is above 0" if rates else "it has no dropout"
        raise NoDropoutError(
            f"{name} cannot give Monte-Carlo uncertainty: {found}, so every sample would be the same. "
            "Use a model trained with dropout, or ask for --uncertainty off."
        )
