"""What a run is made from beside its configuration, so that it is never gone on with over something else."""

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
"""Digests, by what a user calls the things they are of."""


def begin_from(run_dir: Path, origin: Mapping[str, str | None], *, resume: bool) -> None:
    """Writes what a run is made from into its folder.

    Raises ConfigError, naming what is another now, where a run that is to be gone on with was begun from
    something else: what it has finished would pass for what it is not.
    """
    run_dir.mkdir(parents=True, exist_ok=True)
    path = run_dir / ORIGIN_FILE
    if resume and path.is_file():
        begun = load_record(path)
        changed = sorted(name for name in begun.keys() | origin.keys() if begun.get(name) != origin.get(name))
        if changed:
            raise ConfigError(
                f"the run in {run_dir} was begun from something else than is there now ({', '.join(changed)}): give another folder with --run, or "
                "train again with --fresh"
            )
    save_record(origin, path)


def corpora_provenance(corpora: Iterable[Corpus]) -> dict[str, str]:
    """The SHA-256 of the files that the corpora were read from, by name."""
    return {file.name: file.sha256 for corpus in corpora for file in corpus.files}


def model_provenance(name: str, revision: str | None = None) -> str | None:
    """Of a pretrained model: its weights where it is a folder, else the commit in the local cache, if there is one."""
    folder = Path(resolve_encoder(name))
    return weights_digest(folder) if folder.is_dir() else hub_commit(name, revision)


def inputs_provenance(provenance: Mapping[str, Any]) -> Provenance:
    """Of what made the supplies of a run."""
    return {name.replace("_", " "): str(value) for name, value in provenance.items()}
