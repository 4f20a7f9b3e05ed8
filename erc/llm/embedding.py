"""Text embeddings for retrieval, from the shared classifier or a sentence-transformers model."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from erc.errors import ArtefactError
from erc.llm.base.digests import hub_commit
from erc.llm.base.four_bit import without_bitsandbytes
from erc.llm.base.loading import default_device, require_place, without_bars
from erc.models.encoder.encoder import resolve_encoder

SHARED = "shared"
"""The value of `llm.embedder` for the shared classifier."""


class TextEmbedder(Protocol):
    """Turns texts into vectors. Texts with a similar meaning have a high cosine similarity."""

    @property
    def name(self) -> str:
        """Name of the model, as a configuration gives it."""
        ...

    @property
    def revision(self) -> str | None:
        """Identifies the weights: a digest, or a hub commit; None if neither is known."""
        ...

    @property
    def width(self) -> int:
        """Values of one vector, D."""
        ...

    def embed(self, texts: Sequence[str]) -> np.ndarray:
        """The vectors of B texts, float32 (B, D)."""
        ...


@dataclass(frozen=True, slots=True)
class SharedEmbedder:
    """The vectors of the shared utterance classifier.

    Attributes:
        encode: Gives the vectors (B, D) of B texts.
        name: Name of the classifier.
        revision: SHA-256 of the classifier.
        width: Values of one vector, D.
    """

    encode: Callable[[Sequence[str]], np.ndarray]
    name: str
    revision: str | None
    width: int

    def embed(self, texts: Sequence[str]) -> np.ndarray:
        """The vectors of B texts, float32 (B, D)."""
        return np.asarray(self.encode(texts), dtype=np.float32)


class SentenceEmbedder:
    """The vectors of a `SentenceTransformer` model, computed in fp32."""

    def __init__(self, model: Any, *, name: str, revision: str | None) -> None:
        self.name = name
        self.revision = revision
        self._model = model

    @classmethod
    def load(cls, name: str, *, device: str | None = None) -> SentenceEmbedder:
        """Loads a folder or hub id. all-MiniLM-L6-v2 comes from its package, without a network.

        The model must have safetensors weights and must not need its own code.

        Raises:
            ArtefactError: the model cannot be found or read.
        """
        import torch

        require_place(name)
        place = resolve_encoder(name)
        revision = _folder_digest(Path(place)) if Path(place).is_dir() else hub_commit(place)
        with without_bitsandbytes():
            from sentence_transformers import SentenceTransformer
        try:
            with without_bars(), without_bitsandbytes():
                model = SentenceTransformer(
                    place,
                    device=device or default_device(),
                    trust_remote_code=False,
                    model_kwargs={"use_safetensors": True, "dtype": torch.float32},
                )
        except (OSError, ValueError, KeyError, ImportError) as error:
            raise ArtefactError(f"the embedder '{name}' cannot be loaded: {error}") from error
        return cls(model.eval(), name=name, revision=revision)

    @property
    def width(self) -> int:
        """Values of one vector, D."""
        return int(self._model.get_embedding_dimension())

    def embed(self, texts: Sequence[str]) -> np.ndarray:
        """The vectors of B texts, float32 (B, D)."""
        if not texts:
            return np.zeros((0, self.width), dtype=np.float32)
        found = self._model.encode(list(texts), convert_to_numpy=True, show_progress_bar=False)
        return np.asarray(found, dtype=np.float32)


def open_embedder(name: str, *, shared: TextEmbedder) -> TextEmbedder:
    """Opens the embedder of `llm.embedder`: `shared` itself, or a sentence-transformers model.

    Raises:
        ArtefactError: the model cannot be found or read.
    """
    return shared if name == SHARED else SentenceEmbedder.load(name)


def _folder_digest(folder: Path) -> str:
    """Twelve hexadecimal digits of the configurations and weights of a folder and its subfolders."""
    digest = hashlib.sha256()
    try:
        for path in sorted(folder.rglob("*")):
            if path.suffix in (".json", ".safetensors", ".txt") and path.is_file():
                digest.update(f"{path.relative_to(folder).as_posix()}\n".encode())
                with path.open("rb") as file:
                    digest.update(hashlib.file_digest(file, "sha256").digest())
    except OSError as error:
        raise ArtefactError(f"{error.filename}: cannot be read: {error.strerror}") from None
    return digest.hexdigest()[:12]
