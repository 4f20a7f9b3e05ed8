"""The table of model kinds: how the network of each kind is built from its description."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from torch import nn

from erc.errors import ArtefactError
from erc.models.emonet.build import EmoNetSettings, build_emonet
from erc.models.encoder.encoder import Encoder
from erc.models.utterance import UtteranceClassifier
from erc.persistence.info import ArtefactInfo


@dataclass(frozen=True, slots=True)
class ModelKind:
    """What saving and loading need to know about a kind of model.

    `build` makes the untrained network over an encoder. `shares_encoder` returns whether a model of this kind
    uses the encoder of its utterance classifier and stores none.
    """

    build: Callable[[Encoder, ArtefactInfo], nn.Module]
    shares_encoder: Callable[[ArtefactInfo], bool] = lambda info: False


def _utterance(encoder: Encoder, info: ArtefactInfo) -> nn.Module:
    return UtteranceClassifier(encoder=encoder, emotions=len(info.labels), **info.architecture)


def _emonet(encoder: Encoder, info: ArtefactInfo) -> nn.Module:
    settings = EmoNetSettings(**info.architecture)
    # A second encoder has the architecture of the first; its weights come with the artefact.
    second = copy.deepcopy(encoder) if settings.memory_encoder == "own" else None
    return build_emonet(settings, encoder=encoder, emotions=len(info.labels), memory_encoder=second)


MODEL_KINDS: Final[dict[str, ModelKind]] = {
    "utterance": ModelKind(_utterance),
    "emonet": ModelKind(_emonet, shares_encoder=lambda info: info.architecture.get("encoder") == "shared"),
}


def model_kind(info: ArtefactInfo) -> ModelKind:
    """The entry for the kind of a model.

    Raises:
        ArtefactError: For an unknown kind.
    """
    if info.kind not in MODEL_KINDS:
        raise ArtefactError(
            f"the model '{info.name}' is of kind '{info.kind}', known are: {', '.join(sorted(MODEL_KINDS))}"
        )
    return MODEL_KINDS[info.kind]


def shares_encoder(info: ArtefactInfo) -> bool:
    """Whether a model uses the encoder of its utterance classifier and stores none.

    Raises:
        ArtefactError: For an unknown kind.
    """
    return model_kind(info).shares_encoder(info)


def build_network(encoder: Encoder, info: ArtefactInfo) -> nn.Module:
    """The untrained network that `info` describes, over `encoder`.

    Raises:
        ArtefactError: For an unknown kind, or an architecture that does not fit the kind.
    """
    kind = model_kind(info)
    try:
        return kind.build(encoder, info)
    except (TypeError, ValueError) as error:
        raise ArtefactError(
            f"the architecture of '{info.name}' does not fit kind '{info.kind}': {error}"
        ) from error
