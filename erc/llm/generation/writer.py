"""Language models that write text: loaded when first needed, with their texts stored on disk."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from erc.errors import ArtefactError
from erc.llm.backends.generate import GenerationSettings, Generator
from erc.llm.base.digests import known_weights, reading_digest
from erc.llm.base.loading import LlmPrecision, known_positions, require_place
from erc.llm.generation.text_store import WrittenTexts, write_texts
from erc.llm.prompts.encoding import PromptEncoder
from erc.llm.prompts.template import RenderedPrompt


class Writer:
    """A `Generator` whose backend is loaded for the first text. Not thread-safe."""

    def __init__(self, load: Callable[[], Generator], *, encoder: PromptEncoder, model_id: str) -> None:
        self.encoder = encoder
        self.model_id = model_id
        self._load = load
        self._backend: Any = None

    def generate(
        self, prompts: Sequence[RenderedPrompt], *, settings: GenerationSettings | None = None
    ) -> list[str]:
        """The text after each prompt."""
        if not prompts:
            return []
        if self._backend is None:
            self._backend = self._load()
        return list(self._backend.generate(prompts, settings=settings))

    def close(self) -> None:
        """Frees the model or the connections to its server."""
        backend, self._backend = self._backend, None
        if hasattr(backend, "close"):
            backend.close()


class KeepingWriter:
    """A `Generator` that generates each text once: those in `texts` under `task` are reused."""

    def __init__(self, generator: Generator, texts: WrittenTexts, *, task: str) -> None:
        self.encoder = generator.encoder
        self.model_id = generator.model_id
        self._generator = generator
        self._texts = texts
        self._task = task

    def generate(
        self, prompts: Sequence[RenderedPrompt], *, settings: GenerationSettings | None = None
    ) -> list[str]:
        """The text after each prompt.

        Raises:
            ArtefactError: the file of texts cannot be written.
        """
        return write_texts(
            self._generator,
            prompts,
            task=self._task,
            settings=settings or GenerationSettings(),
            texts=self._texts,
        )


def open_text_writer(
    name: str,
    *,
    revision: str | None = None,
    adapter: Path | None = None,
    precision: LlmPrecision = "auto",
    server: str | None = None,
) -> Writer:
    """The writer `name`: a folder or hub id, or with `server` (an address) the model of that name there.

    The id ends in a digest of tokenizer and chat template, and of the weights if `name` is a folder. The id
    therefore changes if the folder holds another model or another chat template. The tokenizer is always
    read, because it fits prompts to the budget.

    Raises:
        ArtefactError: the tokenizer cannot be read.
    """
    from transformers import AutoTokenizer

    require_place(name)
    try:
        tokenizer = AutoTokenizer.from_pretrained(name, revision=revision, trust_remote_code=False)
    except (OSError, ValueError) as error:
        raise ArtefactError(
            f"the tokenizer of the language model '{name}' cannot be read, and prompts are fitted by it: "
            f"{error}"
        ) from error
    encoder = PromptEncoder(tokenizer, positions=known_positions(name, revision=revision))

    def local() -> Generator:
        from erc.llm.backends.local import LocalScorer

        return LocalScorer.load(name, revision=revision, adapter=adapter, precision=precision, use="writing")

    def served() -> Generator:
        from erc.llm.backends.server import ServerGenerator, open_transport

        assert server is not None
        return ServerGenerator(open_transport(server), model=name, encoder=encoder)

    identity = "@".join(filter(None, (name, revision))) + ("" if adapter is None else f"+{adapter.name}")
    model_id = "#".join(filter(None, (identity, known_weights(name, adapter), reading_digest(encoder))))
    return Writer(local if server is None else served, encoder=encoder, model_id=model_id)
