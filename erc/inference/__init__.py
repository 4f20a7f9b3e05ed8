"""Labelling: scorers, live conversations, and the Predictor shared by command, service and batch.

The public names are importable from here; each is loaded on first use.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from erc.inference.live.conversation import LiveConversation
    from erc.inference.loading import load_cascade, load_predictor
    from erc.inference.prediction import Prediction
    from erc.inference.predictor import Labelled, Predictor
    from erc.inference.scorers.settings import InferenceSettings

__all__ = [
    "InferenceSettings",
    "Labelled",
    "LiveConversation",
    "Prediction",
    "Predictor",
    "load_cascade",
    "load_predictor",
]

_PLACES = {
    "InferenceSettings": "scorers.settings",
    "Labelled": "predictor",
    "LiveConversation": "live.conversation",
    "Prediction": "prediction",
    "Predictor": "predictor",
    "load_cascade": "loading",
    "load_predictor": "loading",
}


def __getattr__(name: str) -> Any:
    if name not in _PLACES:
        raise AttributeError(f"module 'erc.inference' has no attribute {name!r}")
    return getattr(import_module(f"erc.inference.{_PLACES[name]}"), name)
