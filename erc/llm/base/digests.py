"""Short names for what a folder of weights holds and for how text becomes tokens: models called alike, or changed since, are told apart by them."""

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
"""Bytes up to which a file of weights is read whole, as that of an adapter is."""
_SLICE = 2**16
_SLICES = 64
_SAMPLE = RenderedPrompt(
    "Judge.",
    (("text", "Ana: It's 12,345  naïve ﬁancées'\tJOY?! 你好 👩\u200d🚀 <b>_x_</b>"),),
    "Answer:",
    "",
    "",
)
"""What tokenizers that know the same tokens may still part in other ways: case, digits, spaces, accents, other scripts."""


def weights_digest(folder: Path) -> str | None:
    """Twelve hexadecimal digits of the configurations and the safetensors files of a folder; None where it holds no weights.

    It depends on what the files are called and hold, not on where the folder lies or when it was written. Of
    a file of many gigabytes its size, its header and slices from all over it are read, which takes no longer
    than of a small one. Raises ArtefactError for a file that cannot be read.
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
    """The digest of a model's weights as far as they lie here: of the folder `name`, of an adapter over it, or of both; None for neither."""
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
    """Twelve hexadecimal digits of tokenizer and chat template: what a model is given to read, and what its tokens say, hangs on them too.

    It depends on what they do (the tokens known, those of a sample, the template's text), not on how a
    library writes them down.
    """
    tokens = sorted(encoder.tokenizer.get_vocab().items())
    made = [tokens, encoder.template_sha256, encoder.prompt_ids(_SAMPLE), encoder.terminator]
    return hashlib.sha256(json.dumps(made).encode()).hexdigest()[:12]


def hub_commit(name: str, revision: str | None = None) -> str | None:
    """The commit of a hub model that lies in the local cache under `revision` (None: its main branch); None where there is none."""
    from huggingface_hub import try_to_load_from_cache
    from huggingface_hub.errors import HFValidationError

    try:
        found = try_to_load_from_cache(name, "config.json", revision=revision)
    except HFValidationError:  # a folder's name
        return None
    return Path(found).parent.name if isinstance(found, str) else None


def _pieces(file: BinaryIO, size: int) -> list[bytes] | BinaryIO:
    if size <= _WHOLE:
        return file  # in lines, of which weights have few short ones
    header = file.read(8 + int.from_bytes(file.read(8), "little")) if size > 8 else b""
    found = [header]
    for place in range(_SLICES):
        file.seek((size - _SLICE) * place // (_SLICES - 1))
        found.append(file.read(_SLICE))
    return found
