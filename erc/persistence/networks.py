"""How the network of each kind of artefact is built from its description."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from torch import nn

from erc.errors import ArtefactError
from erc.models.emonet.build import EmoNetSettings, build_emonet
from erc.models.encoder.encoder import Encoder
from erc.models.utterance import UtteranceClassifier

if TYPE_CHECKING:
    from erc.persistence.info import ArtefactInfo

NetworkBuilder = Callable[[Encoder, "ArtefactInfo"], nn.Module]


def _utterance(encoder: Encoder, info: ArtefactInfo) -> nn.Module:
    return UtteranceClassifier(encoder=encoder, emotions=len(info.labels), **info.architecture)


def _emonet(encoder: Encoder, info: ArtefactInfo) -> nn.Module:
    settings = EmoNetSettings(**info.architecture)
    # A second encoder has the architecture of the first; its weights come with the artefact.
    second = copy.deepcopy(encoder) if settings.memory_encoder == "own" else None
    return build_emonet(settings, encoder=encoder, emotions=len(info.labels), memory_encoder=second)


NETWORKS: Final[dict[str, NetworkBuilder]] = {"utterance": _utterance, "emonet": _emonet}


def build_network(encoder: Encoder, info: ArtefactInfo) -> nn.Module:
    """The untrained network that `info` describes, over `encoder`. Raises ArtefactError for an unknown kind or arguments that do not fit."""
    if info.kind not in NETWORKS:
        raise ArtefactError(
            f"the model '{info.name}' is of kind '{info.kind}', known are: {', '.join(sorted(NETWORKS))}"
        )
    try:
        return NETWORKS[info.kind](encoder, info)
    except (TypeError, ValueError) as error:
        raise ArtefactError(
            f"the architecture of '{info.name}' does not fit kind '{info.kind}': {error}"
        ) from error
