"""Convemo labels the emotion of every turn of a conversation.

The names below are the public interface. Each is imported when it is first used, so `import erc` loads
neither torch nor transformers.
"""

from __future__ import annotations

TYPE_CHECKING = False  # type checkers know the name; importing typing would take longer than all of this
if TYPE_CHECKING:
    from typing import Any

    from erc.api.evaluation import evaluate
    from erc.api.live import LiveConversation
    from erc.api.predictor import LoadedPredictor, load
    from erc.api.result import LabelResult
    from erc.api.training import train
    from erc.data.conversation import Conversation, Utterance
    from erc.errors import ConvemoError
    from erc.inference.prediction import Prediction

    __version__: str

__all__ = [
    "ConvemoError",
    "Conversation",
    "LabelResult",
    "LiveConversation",
    "LoadedPredictor",
    "Prediction",
    "Utterance",
    "__version__",
    "evaluate",
    "load",
    "train",
]

_MODULES = {
    "ConvemoError": "erc.errors",
    "Conversation": "erc.data.conversation",
    "LabelResult": "erc.api.result",
    "LiveConversation": "erc.api.live",
    "LoadedPredictor": "erc.api.predictor",
    "Prediction": "erc.inference.prediction",
    "Utterance": "erc.data.conversation",
    "evaluate": "erc.api.evaluation",
    "load": "erc.api.predictor",
    "train": "erc.api.training",
}


def __getattr__(name: str) -> Any:
    if name == "__version__":
        value: Any = _version()
    elif name in _MODULES:
        from importlib import import_module

        value = getattr(import_module(_MODULES[name]), name)
    else:
        raise AttributeError(f"module 'erc' has no attribute {name!r}")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


def _version() -> str:
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version("convemo")
    except PackageNotFoundError:  # a source tree that was never installed
        return "0.0.0"
