"""Stores weights as a compressed difference to the public encoder they were trained from.

A matrix W is stored as round((W - W0) / s) with one scale s per row, in 8 or 4 bits. A large new matrix is
stored in the same way with W0 = 0, in 8 bits. Vectors and small new matrices are stored in half precision.
Weights that training did not change are not stored.

With 4 bits, a scale from the largest entry of a row is often poor. So a few clipping points are tried, and
the one with the smallest squared error is taken.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from erc.errors import ArtefactError

DeltaKind = Literal["int8", "int4", "none"]
_LEVELS = {"int8": 127, "int4": 7}
_CODES, _SCALES, _SHAPE, _NEW = "::codes", "::scales", "::columns", "::new"
_LARGE = 4096  # entries; smaller new matrices, such as an output layer, are stored in half precision


def encode(weights: dict[str, Tensor], base: dict[str, Tensor], kind: DeltaKind) -> dict[str, Tensor]:
    """Tensors to store for `weights`, as differences to `base`; keys missing in `base` are new parameters.

    Raises:
        ArtefactError: If a weight is not finite.
    """
    stored: dict[str, Tensor] = {}
    for name, value in weights.items():
        if not bool(value.isfinite().all()):
            raise ArtefactError(
                f"'{name}' holds values that are not finite: training has diverged, so nothing is saved"
            )
        start = base.get(name)
        if start is not None and torch.equal(value, start):
            continue
        if start is None and kind != "none" and value.dim() == 2 and value.numel() >= _LARGE:
            codes, scales = _quantise(value, _LEVELS["int8"])
            stored[name + _NEW], stored[name + _SCALES] = codes, scales.half()
            continue
        if kind == "none" or start is None or value.dim() != 2:
            stored[name] = (value if kind == "none" else value.half()).contiguous()
            continue
        codes, scales = _quantise(value - start, _LEVELS[kind])
        stored[name + _SCALES] = scales.half()
        stored[name + _CODES] = _pack(codes) if kind == "int4" else codes
        if kind == "int4":
            stored[name + _SHAPE] = torch.tensor(value.shape[1])
    return stored


def decode(stored: dict[str, Tensor], base: dict[str, Tensor]) -> dict[str, Tensor]:
    """All weights in fp32 from what `encode` stored and the same base.

    Raises:
        ArtefactError: If `stored` is incomplete or does not fit `base`.
    """
    weights = {name: value.clone() for name, value in base.items()}
    for name, value in stored.items():
        stem, mark, _ = name.partition("::")
        if not mark:
            weights[stem] = value.float()
        elif name.endswith(_NEW):
            if stem + _SCALES not in stored:
                raise ArtefactError(f"the model stores '{stem}' without its scales")
            weights[stem] = value.float() * stored[stem + _SCALES].float()
        elif name.endswith(_CODES):
            if stem not in base:
                raise ArtefactError(
                    f"the model stores a difference for '{stem}', which the base encoder does not have"
                )
            if stem + _SCALES not in stored:
                raise ArtefactError(f"the model stores a difference for '{stem}' without its scales")
            columns = stored.get(stem + _SHAPE)
            codes = value if columns is None else _unpack(value, int(columns))
            if codes.shape != base[stem].shape:
                raise ArtefactError(
                    f"the difference for '{stem}' has shape {tuple(codes.shape)}, the base encoder has "
                    f"{tuple(base[stem].shape)}"
                )
            weights[stem] = base[stem] + codes.float() * stored[stem + _SCALES].float()
    return weights


def _quantise(difference: Tensor, levels: int) -> tuple[Tensor, Tensor]:
    """Codes int8 (R, K) and scales (R, 1) in fp16 range, with the best of a few clipping points per row."""
    peak = difference.abs().amax(dim=1, keepdim=True)
    best_error = torch.full_like(peak, float("inf"))
    best_scale = torch.ones_like(peak)
    shares = (1.0,) if levels > 7 else (1.0, 0.9, 0.8, 0.7, 0.6, 0.5, 0.4)
    for share in shares:
        scale = (peak * share / levels).clamp(min=1e-7).half().float()
        restored = (difference / scale).round().clamp(-levels, levels) * scale
        error = (restored - difference).square().sum(dim=1, keepdim=True)
        better = error < best_error
        best_error = torch.where(better, error, best_error)
        best_scale = torch.where(better, scale, best_scale)
    codes = (difference / best_scale).round().clamp(-levels, levels).to(torch.int8)
    return codes, best_scale


def _pack(codes: Tensor) -> Tensor:
    """Two 4-bit codes in -7..7 per byte: int8 (R, K) -> uint8 (R, ceil(K / 2))."""
    shifted = (codes + 8).to(torch.uint8)
    if shifted.shape[1] % 2:
        shifted = torch.cat([shifted, shifted.new_full((shifted.shape[0], 1), 8)], dim=1)
    return (shifted[:, 0::2] | (shifted[:, 1::2] << 4)).contiguous()


def _unpack(packed: Tensor, columns: int) -> Tensor:
    low, high = (packed & 0x0F).to(torch.int8) - 8, (packed >> 4).to(torch.int8) - 8
    return torch.stack([low, high], dim=2).flatten(1)[:, :columns]
