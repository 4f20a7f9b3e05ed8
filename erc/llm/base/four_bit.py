"""4-bit weights: where they can be used, and imports of bitsandbytes only for them."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from typing import Any

from erc.errors import ConfigError, MissingExtraError

_PACKAGE = "bitsandbytes"


def can_four_bit(device: str) -> bool:
    """Whether 4-bit weights can be used on `device`."""
    return device.startswith("cuda") and find_spec(_PACKAGE) is not None


def four_bit_settings(device: str) -> Any:
    """The quantization settings of QLoRA: NF4 with double quantization, computing in bf16.

    Raises:
        ConfigError: `device` is not a CUDA GPU.
        MissingExtraError: bitsandbytes is not installed.
    """
    import torch
    from transformers import BitsAndBytesConfig

    if not device.startswith("cuda"):
        raise ConfigError("precision '4bit' needs a CUDA GPU: use --precision bf16 or fp32 here")
    if not can_four_bit(device):
        raise MissingExtraError(_PACKAGE, "llm")
    return BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=torch.bfloat16,
    )


@contextmanager
def without_bitsandbytes(model: Any = None) -> Iterator[None]:
    """Hides bitsandbytes within the block, unless `model` is quantized or the package is imported already.

    PEFT imports bitsandbytes whenever it is installed. That takes time, and on a machine without a GPU it
    prints errors about missing kernels.
    """
    quantized = getattr(model, "is_quantized", False) or getattr(model, "is_loaded_in_4bit", False)
    if quantized or _PACKAGE in sys.modules:
        yield
        return
    sys.modules[_PACKAGE] = None  # type: ignore[assignment]  # Python reads this as "not installed"
    try:
        yield
    finally:
        del sys.modules[_PACKAGE]
        _forget_availability()


def _forget_availability() -> None:
    """Clears import checks that libraries cached in the block, so a 4-bit model can be loaded later."""
    for module, names in (
        ("peft.import_utils", ("is_bnb_available", "is_bnb_4bit_available")),
        ("transformers.utils.import_utils", ("is_bitsandbytes_available",)),
    ):
        for name in names:
            forget = getattr(getattr(sys.modules.get(module), name, None), "cache_clear", None)
            if forget is not None:
                forget()
