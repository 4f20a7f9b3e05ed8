"""Loads models by name, and finds the utterance classifier that a conversation model reads."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from erc.errors import ArtefactError
from erc.persistence.artefact import Artefact, load_artefact
from erc.persistence.catalog import SHIPPED, find_model
from erc.persistence.info import ArtefactInfo, load_info
from erc.persistence.layout import LAYOUT
from erc.persistence.networks import shares_encoder

_PATHS = "utterance_paths"


def load_model(name: str) -> Artefact:
    """The model with this name or in this folder.

    For a conversation model that uses its classifier's encoder, `shared` of the result is that classifier.

    Raises:
        ArtefactError: For a model that does not exist or cannot be used.
    """
    folder = find_model(name)
    info = load_info(folder)
    return load_artefact(folder, shared=_find_classifier(info, folder) if shares_encoder(info) else None)


def load_shared(artefact: Artefact) -> Artefact:
    """The utterance classifier that a conversation model reads.

    Searches the folder that holds the model's folder, the paths that training recorded, and the catalog. The
    first classifier with the recorded SHA-256 is used.

    Raises:
        ArtefactError: If the classifier is not found; the message lists the searched paths.
    """
    return artefact.shared or _find_classifier(artefact.info, artefact.folder)


def classifier_reference(classifier: Artefact, folder: Path) -> dict[str, Any]:
    """The entries of `ArtefactInfo.reads` by which a model in `folder` finds its utterance classifier.

    The path is recorded relative to `folder` and absolute. It is left out for a classifier beside `folder`,
    and for a shipped one, which the catalog finds.
    """
    reference: dict[str, Any] = {
        "utterance_model": classifier.info.name,
        "utterance_sha256": classifier.sha256,
    }
    place = classifier.folder.resolve()
    beside = place == folder.resolve().parent / classifier.info.name
    if beside or place.parent == SHIPPED.resolve():
        return reference
    return reference | {_PATHS: [os.path.relpath(place, folder.resolve()), str(place)]}


def _find_classifier(info: ArtefactInfo, folder: Path) -> Artefact:
    wanted = info.reads.get("utterance_sha256")
    tried: list[str] = []
    for place in _places(info, folder):
        if not (place / LAYOUT.info).is_file():
            tried.append(f"{place}: no model there")
            continue
        try:
            found = load_artefact(place)
        except ArtefactError as error:
            tried.append(str(error))
            continue
        if wanted is None or found.sha256 == wanted:
            return found
        tried.append(f"{place}: SHA-256 {found.sha256[:12]}...")
    name = info.reads.get("utterance_model")
    expected = "" if wanted is None else f" with SHA-256 {wanted[:12]}..."
    raise ArtefactError(
        f"{info.identity} was trained with the classifier '{name}'{expected}, which was not found: "
        f"put it beside {folder}, or train the conversation model again. Tried: {'; '.join(tried)}"
    )


def _places(info: ArtefactInfo, folder: Path) -> Iterator[Path]:
    """Folders that may have the classifier, without repetition, most likely first."""
    name, recorded = str(info.reads["utterance_model"]), info.reads.get(_PATHS, ())
    places = [folder.resolve().parent / name, *(folder.resolve() / str(path) for path in recorded)]
    try:
        places.append(find_model(name))
    except ArtefactError:
        places.append(Path(name))  # so that the error message lists it
    yield from dict.fromkeys(Path(os.path.normpath(place)) for place in places)
