"""Digests of weights and tokenizers, which distinguish models of the same name."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path
from typing import BinaryIO

from erc.errors import ArtefactError
from erc.llm.prompts.encoding import PromptEncoder
from erc.llm.prompts.template import RenderedPrompt

_CONFIGS = ("config.json", "adapter_config.json")
_WHOLE = 256 * 2**20
"""Bytes up to which a weight file is read whole, such as an adapter's."""
_SLICE = 2**16
_SLICES = 64
_SAMPLE = RenderedPrompt(
    "Judge.",
    (("text", "Ana: It's 12,345  naïve ﬁancées'\tJOY?! 你好 👩\u200d🚀 <b>_x_</b>"),),
    "Answer:",
    "",
    "",
)
"""Text on which tokenizers with equal vocabularies may differ: case, digits, spaces, accents, scripts."""


def weights_digest(folder: Path) -> str | None:
    """Twelve hexadecimal digits of a folder's configurations and safetensors files; None without weights.

    The digest depends on file names and contents, not on path or time. For a file of several gigabytes,
    only the size, the header and evenly spaced slices are read.

    Raises:
        ArtefactError: a file cannot be read.
    """
    weights = sorted(folder.glob("*.safetensors"))
    if not weights:
        return None
    digest = hashlib.sha256()
    try:
        for path in (*(folder / name for name in _CONFIGS if (folder / name).is_file()), *weights):
            with path.open("rb") as file:
                size = os.fstat(file.fileno()).st_size
                digest.update(f"{path.name} {size}\n".encode())
                for piece in _pieces(file, size):
                    digest.update(piece)
    except OSError as error:
        raise ArtefactError(f"{error.filename}: cannot be read: {error.strerror}") from None
    return digest.hexdigest()[:12]


def known_weights(name: str, adapter: Path | None = None) -> str | None:
    """The digest of the local weights: of the folder `name`, of an adapter, or of both; None for neither.

    Raises:
        ArtefactError: a file cannot be read.
    """
    folders = [folder for folder in (Path(name), adapter) if folder is not None and folder.is_dir()]
    found = [digest for folder in folders if (digest := weights_digest(folder)) is not None]
    return (
        found[0]
        if len(found) == 1
        else hashlib.sha256("".join(found).encode()).hexdigest()[:12]
        if found
        else None
    )


def reading_digest(encoder: PromptEncoder) -> str:
    """Twelve hexadecimal digits of tokenizer and chat template, which determine a model's input.

    The digest depends on their behaviour (vocabulary, tokens of a sample, the template's text), not on
    their file format.
    """
    tokens = sorted(encoder.tokenizer.get_vocab().items())
    made = [tokens, encoder.template_sha256, encoder.prompt_ids(_SAMPLE), encoder.terminator]
    return hashlib.sha256(json.dumps(made).encode()).hexdigest()[:12]


def hub_commit(name: str, revision: str | None = None) -> str | None:
    """The commit of a hub model in the local cache under `revision` (None: main); None without one."""
    from huggingface_hub import try_to_load_from_cache
    from huggingface_hub.errors import HFValidationError

    try:
        found = try_to_load_from_cache(name, "config.json", revision=revision)
    except HFValidationError:  # the name of a folder
        return None
    return Path(found).parent.name if isinstance(found, str) else None


def _pieces(file: BinaryIO, size: int) -> list[bytes] | BinaryIO:
    if size <= _WHOLE:
        return file  # read line by line; weights have few short lines
    header = file.read(8 + int.from_bytes(file.read(8), "little")) if size > 8 else b""
    found = [header]
    for place in range(_SLICES):
        file.seek((size - _SLICE) * place // (_SLICES - 1))
        found.append(file.read(_SLICE))
    return found
