"""Artefact folders: what a trained model leaves on disk, and how it comes back."""

from erc.persistence.artefact import Artefact, ArtefactInfo, load_artefact, save_artefact
from erc.persistence.models import load_model, load_shared
from erc.persistence.shelf import ModelEntry, find_model, list_models

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
