"""A model by name, together with the shared classifier it reads."""

from __future__ import annotations

from pathlib import Path

from erc.errors import ArtefactError
from erc.persistence.artefact import Artefact, ArtefactInfo, load_artefact, load_info
from erc.persistence.shelf import find_model


def load_model(name: str) -> Artefact:
    """The model of a name or folder; `shared` of a conversation model is the classifier whose encoder it uses, if it has none of its own.

    Raises ArtefactError for a model that is not there or cannot be used.
    """
    folder = find_model(name)
    info = load_info(folder)
    return load_artefact(folder, shared=_shared_of(info, folder) if info.shares_encoder else None)


def load_shared(artefact: Artefact) -> Artefact:
    """The shared classifier a conversation model reads. Raises ArtefactError where it is another one than it was trained with."""
    return artefact.shared or _shared_of(artefact.info, artefact.folder)


def _shared_of(info: ArtefactInfo, folder: Path) -> Artefact:
    """The classifier of that name beside `folder`, where models trained together lie, else the one on a shelf."""
    name, wanted = str(info.reads["utterance_model"]), info.reads.get("utterance_sha256")
    beside = folder.parent / name
    shared = load_artefact(beside if (beside / "artefact.json").is_file() else find_model(name))
    if wanted is not None and shared.sha256 != wanted:
        raise ArtefactError(
            f"{info.identity} was trained with a {shared.info.name} of SHA-256 {wanted[:12]}..., the one in {shared.folder} has "
            f"{shared.sha256[:12]}...: put the one it was trained with beside it, or train the conversation model again"
        )
    return shared
