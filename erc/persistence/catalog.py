"""The catalog of models: those shipped in the package, and those in the user's model folder."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from erc.errors import ArtefactError
from erc.persistence.info import load_info
from erc.persistence.layout import LAYOUT
from erc.resources import DEFAULT_MODEL

SHIPPED = Path(__file__).resolve().parent.parent / "pretrained"


@dataclass(frozen=True, slots=True)
class ModelEntry:
    """A model of the catalog."""

    name: str
    path: Path
    shipped: bool


def user_models() -> Path:
    """The folder of the user's models: $CONVEMO_MODELS, else one in the user's data folder."""
    setting = os.environ.get("CONVEMO_MODELS")
    if setting:
        return Path(setting)
    data = os.environ.get("XDG_DATA_HOME")
    return (Path(data) if data else Path.home() / ".local" / "share") / "convemo" / "models"


def list_models() -> tuple[ModelEntry, ...]:
    """All named models, shipped ones first; a user's model never hides a shipped one."""
    entries: dict[str, ModelEntry] = {}
    for folder, shipped in ((SHIPPED, True), (user_models(), False)):
        if folder.is_dir():
            for path in sorted(folder.iterdir()):
                if (path / LAYOUT.info).is_file() and not path.name.startswith("."):
                    entries.setdefault(path.name, ModelEntry(name=path.name, path=path, shipped=shipped))
    return tuple(entries.values())


def find_model(name: str) -> Path:
    """The folder of a model given by name, `name@version`, path, or `default` for the default model.

    Raises:
        ArtefactError: For a model that does not exist; the message lists the known ones.
    """
    path = Path(os.path.expanduser(name))
    if os.path.isfile(path / LAYOUT.info):  # unlike Path.is_file, False for invalid file names
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
