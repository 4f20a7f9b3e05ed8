"""Putting a network into the state its artefact will have, before anything is fitted on its outputs."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from erc.persistence.delta import DeltaKind, decode, encode


@torch.no_grad()
def compress_in_place(network: nn.Module, base: dict[str, Tensor], kind: DeltaKind) -> int:
    """Replaces the weights by what a stored difference of this kind restores; returns the bytes it takes."""
    weights = {name: value.detach().cpu().float() for name, value in network.state_dict().items()}
    stored = encode(weights, base, kind)
    if kind != "none":
        network.load_state_dict(decode(stored, base))
    return sum(value.numel() * value.element_size() for value in stored.values())
