"""Model folders: saving, loading and finding trained models."""

from erc.persistence.artefact import Artefact, load_artefact, save_artefact
from erc.persistence.catalog import ModelEntry, find_model, list_models
from erc.persistence.info import ArtefactInfo
from erc.persistence.loading import load_model, load_shared

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
