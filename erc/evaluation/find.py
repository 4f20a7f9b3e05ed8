"""Finds the candidate of an evaluation by the name of a model."""

from __future__ import annotations

from pathlib import Path

from erc.errors import ConfigError
from erc.evaluation.candidates import Candidate, of_artefact
from erc.persistence import load_model
from erc.resources import LLM_PREFIX


def find_candidate(
    model: str,
    *,
    inputs: Path | None = None,
    adapter: Path | None = None,
    server: str | None = None,
    cache: Path | None = None,
    writer_server: str | None = None,
) -> Candidate:
    """The candidate of a model folder or name, or of a language model as `llm:PATH_OR_ID`.

    Args:
        model: The model.
        inputs: Cache for memories of corpora and written texts; None: the user's cache.
        adapter: Adapter folder, for a language model.
        server: URL of a model server, for a language model.
        cache: Folder for a server's answers.
        writer_server: URL of a server that runs the writer of bios, for a language model.

    Raises:
        ArtefactError: The model cannot be found or evaluated.
        ConfigError: An option for language models is given for another model.
    """
    given = {"adapter": adapter, "server": server, "cache": cache, "writer_server": writer_server}
    if model.startswith(LLM_PREFIX):
        # Imported here because the language-model path needs more packages than the small models.
        from erc.evaluation.llm_candidate import of_language_model

        return of_language_model(
            model, inputs=inputs, adapter=adapter, server=server, cache=cache, writer_server=writer_server
        )
    if any(value is not None for value in given.values()):
        raise ConfigError(
            "--adapter, --server, --cache and --writer-server are for language models, as in "
            f"{LLM_PREFIX}FOLDER; {model} is none"
        )
    return of_artefact(load_model(model), inputs=inputs)


def report_name(model: str, candidate: Candidate, *, adapter: Path | None = None) -> str:
    """Name of a report folder: the model's name without version, or a language model's folder."""
    if model.startswith(LLM_PREFIX):
        return (adapter or Path(model.removeprefix(LLM_PREFIX))).name
    return candidate.identity.rpartition("@")[0]
