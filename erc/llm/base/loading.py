"""Loading a causal language model: safetensors only, no code from the model, one of three precisions."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

from erc.errors import ArtefactError, ConfigError
from erc.llm.base.architectures import Use, positions_of, require_use
from erc.llm.base.four_bit import four_bit_settings

LlmPrecision = Literal["auto", "fp32", "bf16", "4bit"]


def require_place(name: str) -> None:
    """Refuses a name that looks like a folder path if no such folder exists.

    Raises:
        ArtefactError: there is no such folder.
    """
    path = name.startswith((".", "/", "~")) or name.endswith("/") or "\\" in name or name.count("/") > 1
    if path and not Path(name).is_dir():
        raise ArtefactError(
            f"language model '{name}': there is no such folder; a model of the hub is named ORGANISATION/NAME"
        )


def load_base(
    name: str,
    *,
    revision: str | None = None,
    precision: LlmPrecision = "auto",
    device: str | None = None,
    use: Use = "scoring",
) -> tuple[Any, Any]:
    """Loads (model in evaluation mode, tokenizer) of a folder or hub id.

    `4bit` is NF4 with double quantization (QLoRA). A model with its own code is loaded by the class
    of that type in transformers.

    Raises:
        ArtefactError: the model cannot be found, has no safetensors, or is of a type that cannot be put to
            `use`. The type is checked before weights are read.
        ConfigError: the precision is unknown, or `4bit` is requested without a CUDA GPU.
        MissingExtraError: `4bit` is requested without bitsandbytes.
    """
    import torch
    from safetensors import SafetensorError
    from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer

    from erc.models.encoder.precision import torch_dtype

    if precision not in ("auto", "fp32", "bf16", "4bit"):
        raise ConfigError(f"precision '{precision}' is unknown: use auto, fp32, bf16 or 4bit")
    require_place(name)
    place = device or default_device()
    quantised = {"quantization_config": four_bit_settings(place)} if precision == "4bit" else {}
    dtype = torch.bfloat16 if precision == "4bit" else torch_dtype(precision)
    shared: dict[str, Any] = {"revision": revision, "trust_remote_code": False}
    try:
        config = AutoConfig.from_pretrained(name, **shared)
        require_use(config, name=name, use=use)
        tokenizer = AutoTokenizer.from_pretrained(name, **shared)
        with without_bars():
            model: Any = AutoModelForCausalLM.from_pretrained(
                name, config=config, dtype=dtype, use_safetensors=True, **quantised, **shared
            )
    except (OSError, ValueError, SafetensorError) as error:
        if "trust_remote_code" in str(error):  # the library's own message advises to allow remote code
            raise ArtefactError(
                f"language model '{name}' is of a type unknown to transformers and needs code of its own "
                "(auto_map), which is never run: use a model of a known type"
            ) from None
        raise ArtefactError(f"language model '{name}' cannot be loaded: {error}") from error
    if not quantised:
        model = model.to(place)
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.eos_token  # padding is masked, so any token works
    return model.eval(), tokenizer


def described(name: str, *, revision: str | None = None, at_hand: bool = False) -> Any:
    """The configuration of a folder or hub id; None if it cannot be read.

    `at_hand` reads only local files and uses no network.
    """
    from transformers import AutoConfig

    try:
        return AutoConfig.from_pretrained(
            name, revision=revision, trust_remote_code=False, local_files_only=at_hand
        )
    except (OSError, ValueError):
        return None


def known_positions(name: str, *, revision: str | None = None, at_hand: bool = False) -> int | None:
    """`positions_of` for a model that is not loaded; None also if its configuration cannot be read."""
    config = described(name, revision=revision, at_hand=at_hand)
    return None if config is None else positions_of(config)


@contextmanager
def without_bars() -> Iterator[None]:
    """Turns off transformers' progress bars within the block; only the command writes to stderr."""
    from transformers.utils import logging

    drawn = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        if drawn:
            logging.enable_progress_bar()


def default_device() -> str:
    """The device that a language model runs on by default."""
    import torch

    return "cuda" if torch.cuda.is_available() else "cpu"
