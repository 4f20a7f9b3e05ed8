"""Where packaged data lies: in the wheel beside the code, in a checkout beside the packages."""

from __future__ import annotations

from pathlib import Path

from erc.errors import ConvemoError

DEFAULT_MODEL = "emonet-meld-minilm"
"""The model that is used where none is named, or `default`."""

_PACKAGE = Path(__file__).resolve().parent


def resource_dir(name: str) -> Path:
    """The folder of `name` (configs or prompts): the packaged copy first, then the checkout's.

    Raises ConvemoError when neither is there.
    """
    packaged = _PACKAGE / f"_{name}"
    if packaged.is_dir():
        return packaged
    checkout = _PACKAGE.parent / name
    if checkout.is_dir():
        return checkout
    raise ConvemoError(
        f"the folder '{name}' is neither in {packaged} nor in {checkout}: reinstall convemo or run from a full checkout"
    )


SHARED_MODEL = "goemotions-minilm"
"""The utterance classifier beside a language model: it names the fine emotions and makes what a speaker memory keeps."""


LLM_PREFIX = "llm:"
