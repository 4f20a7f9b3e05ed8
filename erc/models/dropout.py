"""Dropout for Monte-Carlo sampling, with seeded masks (Gal and Ghahramani 2016).

Each sample of a seed is one Bernoulli draw of the whole network: a mask depends only on (seed, sample, site,
token position, feature). So a prediction does not depend on the other utterances of its batch, their order,
padding or the size of the batch. Samples of different turns belong to the same drawn network.

The model stays in evaluation mode. The active draw is a context variable, so each thread has its own. It does
not affect a deterministic pass in another thread or after the block.
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
    """The drawn networks of a pass; its rows are the same B inputs, repeated for each sample.

    Attributes:
        seed: Seed of the masks.
        samples: Numbers of the samples.
        positions: Position of each token, (B, T), if it is not its column (several utterances in one row).
    """

    seed: int
    samples: tuple[int, ...]
    positions: Tensor | None = None

    def apply(self, x: Tensor, *, site: int, p: float) -> Tensor:
        """Drop units of x, shape (S*B, D) or (S*B, T, D), and rescale by 1 / (1 - p).

        Raises:
            ValueError: If the rows are not a multiple of the samples.
        """
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
            positions = self.positions.cpu()  # masks are always drawn on the CPU, so that devices agree
            tokens = int(positions.max()) + 1
            keep = torch.stack(
                [_keep(self.seed, s, site, tokens, features, p)[positions] for s in self.samples]
            )  # (S, B, T, D)
        scale = keep.to(device=x.device, dtype=x.dtype) / (1.0 - p)
        return (x.view(count, -1, *x.shape[1:]) * scale).view_as(x)

    def dropped(self, *, site: int, features: int, p: float) -> tuple[Tensor, Tensor]:
        """The units that each network drops: padded indices (S, K), and a mask (S, K) of real ones."""
        gone = [(~_keep(self.seed, s, site, 1, features, p)[0]).nonzero().squeeze(1) for s in self.samples]
        index = nn.utils.rnn.pad_sequence(gone, batch_first=True)
        counts = torch.tensor([len(units) for units in gone])
        return index, torch.arange(index.shape[1]) < counts[:, None]


_ACTIVE: ContextVar[Draw | None] = ContextVar("convemo_draw", default=None)


@contextmanager
def drawn(draw: Draw) -> Iterator[None]:
    """Within the block, every `SeededDropout` in this thread applies `draw`."""
    token = _ACTIVE.set(draw)
    try:
        yield
    finally:
        _ACTIVE.reset(token)


def active_draw() -> Draw | None:
    """The active draw of this thread; None in a deterministic pass."""
    return _ACTIVE.get()


class SeededDropout(nn.Module):
    """Ordinary dropout in training, the active `Draw` if there is one, the identity otherwise.

    `site` numbers the place in the network and is part of the mask's key.

    Raises:
        ValueError: If `p` is not in [0, 1).
    """

    def __init__(self, p: float, *, site: int) -> None:
        super().__init__()
        if not 0.0 <= p < 1.0:
            raise ValueError(f"dropout p={p} is not in [0, 1)")
        self.p = p
        self.site = site

    def forward(self, x: Tensor) -> Tensor:
        """Drop units of x, shape (..., D)."""
        draw = _ACTIVE.get()
        if draw is None or self.p == 0.0:
            return F.dropout(x, self.p, self.training)
        return draw.apply(x, site=self.site, p=self.p)

    def extra_repr(self) -> str:
        """Rate and site, for `repr`."""
        return f"p={self.p}, site={self.site}"


def has_dropout(module: nn.Module) -> bool:
    """Whether `module` has a seeded dropout with a rate above 0."""
    return any(part.p for part in module.modules() if isinstance(part, SeededDropout))


def require_dropout(module: nn.Module, *, name: str) -> None:
    """Refuse a module without dropout, whose samples would all be equal.

    Raises:
        NoDropoutError: If `module` has no seeded dropout with a rate above 0.
    """
    if not has_dropout(module):
        found = (
            "none of its dropout rates is above 0"
            if any(isinstance(part, SeededDropout) for part in module.modules())
            else "it has no dropout"
        )
        raise NoDropoutError(
            f"{name} cannot give Monte-Carlo uncertainty: {found}, so every sample would be the same. "
            "Use a model trained with dropout, or ask for --uncertainty off."
        )
