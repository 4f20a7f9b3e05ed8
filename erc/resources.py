"""Names of default models, and folders of packaged data (in a wheel and in a checkout)."""

from __future__ import annotations

from pathlib import Path

from erc.errors import ConvemoError

DEFAULT_MODEL = "emonet-meld-minilm"
"""The model for the name `default`, also used if no model is named."""

SHARED_MODEL = "goemotions-minilm"
"""The utterance classifier for fine emotions and for the vectors of a speaker memory."""

LLM_PREFIX = "llm:"
"""The prefix of a language model's name."""

_PACKAGE = Path(__file__).resolve().parent


def resource_dir(name: str) -> Path:
    """The folder `name` (configs or prompts) of the installed package, else of the checkout.

    Raises:
        ConvemoError: If neither exists.
    """
    packaged = _PACKAGE / f"_{name}"
    if packaged.is_dir():
        return packaged
    checkout = _PACKAGE.parent / name
    if checkout.is_dir():
        return checkout
    raise ConvemoError(
        f"the folder '{name}' is neither in {packaged} nor in {checkout}: "
        "reinstall convemo or run from a full checkout"
    )
