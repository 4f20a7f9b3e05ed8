"""Artefact folders: what a trained model leaves on disk, and how it comes back."""

from erc.persistence.artefact import Artefact, load_artefact, save_artefact
from erc.persistence.catalog import ModelEntry, find_model, list_models, load_model, load_shared
from erc.persistence.info import ArtefactInfo

__all__ = [
    "Artefact",
    "ArtefactInfo",
    "ModelEntry",
    "find_model",
    "list_models",
    "load_artefact",
    "load_model",
    "load_shared",
    "save_artefact",
]
