"""Which models there are, and where: shipped in the package, in the user's model folder, or at a path."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from erc.errors import ArtefactError
from erc.persistence.artefact import Artefact, load_artefact
from erc.persistence.info import ArtefactInfo, load_info
from erc.resources import DEFAULT_MODEL

SHIPPED = Path(__file__).resolve().parent.parent / "pretrained"


@dataclass(frozen=True, slots=True)
class ModelEntry:
    """A model on the shelf."""

    name: str
    path: Path
    shipped: bool


def user_shelf() -> Path:
    """Where a user's own models lie: $CONVEMO_MODELS, else the user's data folder."""
    setting = os.environ.get("CONVEMO_MODELS")
    if setting:
        return Path(setting)
    data = os.environ.get("XDG_DATA_HOME")
    return (Path(data) if data else Path.home() / ".local" / "share") / "convemo" / "models"


def list_models() -> tuple[ModelEntry, ...]:
    """Every model that can be named, shipped ones first; a user's model never hides a shipped one of the same name."""
    entries: dict[str, ModelEntry] = {}
    for shelf, shipped in ((SHIPPED, True), (user_shelf(), False)):
        if shelf.is_dir():
            for path in sorted(shelf.iterdir()):
                if (path / "artefact.json").is_file() and not path.name.startswith("."):
                    entries.setdefault(path.name, ModelEntry(name=path.name, path=path, shipped=shipped))
    return tuple(entries.values())


def find_model(name: str) -> Path:
    """The folder of a model given by name, `name@version` or path; `default` is the one that is used where none is named.

    Raises ArtefactError that lists the models there are.
    """
    path = Path(os.path.expanduser(name))
    if os.path.isfile(
        path / "artefact.json"
    ):  # unlike Path.is_file, this answers False for names no file can have
        return path
    bare, at, version = name.partition("@")
    models = list_models()
    if bare == "default" and all(entry.name != bare for entry in models):
        bare = DEFAULT_MODEL
    for entry in models:
        if entry.name == bare:
            there = load_info(entry.path).version if at else None
            if at and version != str(there):
                raise ArtefactError(
                    f"there is no '{name}': the model '{bare}' in {entry.path} is version {there}"
                )
            return entry.path
    known = ", ".join(entry.name for entry in models) or "none"
    raise ArtefactError(
        f"there is no model '{name}', neither as a folder nor by name (known: {known}); see `erc models list`"
    )


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
