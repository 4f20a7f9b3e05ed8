"""Number formats: bf16 if the processor supports it natively, else fp32."""

from __future__ import annotations

import copy
from functools import lru_cache
from typing import TypeVar

import torch
from torch import nn

from erc.errors import ConfigError

_Module = TypeVar("_Module", bound=nn.Module)


@lru_cache(maxsize=1)
def bf16_is_fast() -> bool:
    """Whether this machine multiplies bf16 matrices natively: a GPU, or a CPU with AVX512-BF16 or AMX."""
    if torch.cuda.is_available():
        return torch.cuda.is_bf16_supported()
    try:
        return bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())
    except (AttributeError, RuntimeError):  # a private query, absent from builds without oneDNN
        return False


def resolve_precision(precision: str) -> str:
    """`bf16` or `fp32`; `auto` is resolved by what this machine supports.

    Raises:
        ConfigError: If the precision is unknown, or is one for language models.
    """
    if precision == "auto":
        return "bf16" if bf16_is_fast() else "fp32"
    if precision == "4bit":
        raise ConfigError(
            "precision '4bit' is for language models (llm:...): use auto, bf16 or fp32 for this one"
        )
    if precision not in ("bf16", "fp32"):
        raise ConfigError(f"precision '{precision}' is unknown: use auto, bf16 or fp32")
    return precision


def torch_dtype(precision: str) -> torch.dtype:
    """The torch dtype of a precision.

    Raises:
        ConfigError: As `resolve_precision`.
    """
    return torch.bfloat16 if resolve_precision(precision) == "bf16" else torch.float32


def in_precision(network: _Module, *, device: torch.device | str, dtype: torch.dtype) -> _Module:
    """The network on `device` in `dtype`, in evaluation mode.

    It is the same object if nothing changes, else a copy: casting in place would round the weights of other
    owners of the network.
    """
    weights = next(network.parameters())
    if (weights.device, weights.dtype) != (torch.device(device), dtype):
        network = copy.deepcopy(network).to(device=device, dtype=dtype)
    return network.eval()
