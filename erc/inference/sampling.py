"""What is sampled and how often: the person's wish, else what the model's description asks for."""

from __future__ import annotations

from typing import get_args

from erc.errors import ArtefactError
from erc.inference.settings import MAX_SAMPLES, InferenceSettings
from erc.models.dropout import require_dropout
from erc.models.utterance import McMode
from erc.persistence.artefact import Artefact


def chosen_sampling(artefact: Artefact, settings: InferenceSettings) -> tuple[str, int, int]:
    """Mode (or `off`), number of samples and upper layers to sample a model with.

    Raises ArtefactError where the description makes no sense, and NoDropoutError for a model that has nothing
    to sample.
    """
    mode, samples, top_k = _stated_sampling(artefact)
    if settings.uncertainty != "default":
        mode = settings.uncertainty
    if mode != "off":
        require_dropout(artefact.network, name=artefact.info.identity)
    return mode, settings.samples or samples, top_k


def _stated_sampling(artefact: Artefact) -> tuple[str, int, int]:
    """Mode, number of samples and upper layers that a model's description asks for."""
    stated = artefact.info.uncertainty
    mode, samples, top_k = stated.get("mode", "head"), stated.get("samples", 50), stated.get("top_k", 1)
    whole = isinstance(samples, int) and isinstance(top_k, int)
    if mode not in get_args(McMode) or not whole or not 1 <= samples <= MAX_SAMPLES or top_k < 1:
        raise ArtefactError(
            f"{artefact.info.identity} asks for uncertainty with mode={mode!r}, samples={samples!r}, top_k={top_k!r}: mode must be one of "
            f"{', '.join(get_args(McMode))}, samples between 1 and {MAX_SAMPLES}, top_k at least 1; install or train the model again"
        )
    return mode, samples, top_k
