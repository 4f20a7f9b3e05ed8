"""Records a run's inputs so it cannot be resumed with different ones."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from erc.data.corpora import Corpus
from erc.errors import ConfigError
from erc.files import load_record, save_record
from erc.llm.base.digests import hub_commit, weights_digest
from erc.models.encoder.encoder import resolve_encoder

ORIGIN_FILE = "origin.json"

Provenance = dict[str, str | None]
"""Digests of a run's inputs by readable name; None where an input has no digest."""


def begin_from(run_dir: Path, origin: Mapping[str, str | None], *, resume: bool) -> None:
    """Writes the digests of a run's inputs into its folder.

    Raises:
        ConfigError: If a resumed run was started with other inputs; the message names them.
        ArtefactError: If the record of a resumed run is damaged.
    """
    run_dir.mkdir(parents=True, exist_ok=True)
    path = run_dir / ORIGIN_FILE
    if resume and path.is_file():
        begun = load_record(path)
        changed = sorted(name for name in begun.keys() | origin.keys() if begun.get(name) != origin.get(name))
        if changed:
            raise ConfigError(
                f"the run in {run_dir} was started with different inputs ({', '.join(changed)}): "
                "give another folder with --run, or train again with --fresh"
            )
    save_record(origin, path)


def corpora_provenance(corpora: Iterable[Corpus]) -> dict[str, str]:
    """The SHA-256 of every file of the corpora, by file name."""
    return {file.name: file.sha256 for corpus in corpora for file in corpus.files}


def model_provenance(name: str, revision: str | None = None) -> str | None:
    """The digest of a pretrained model's weights if it is a folder, else its commit in the local cache."""
    folder = Path(resolve_encoder(name))
    return weights_digest(folder) if folder.is_dir() else hub_commit(name, revision)


def inputs_provenance(provenance: Mapping[str, Any]) -> Provenance:
    """The provenance of a run's training inputs, under readable names."""
    return {name.replace("_", " "): str(value) for name, value in provenance.items()}
