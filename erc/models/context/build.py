"""The three context modes by name; each is described in its own file."""

from __future__ import annotations

from typing import Literal

from erc.models.context.base import ContextEncoder
from erc.models.context.hierarchical import HierarchicalContext
from erc.models.context.layers import AnyEncoder
from erc.models.context.turn_causal import TurnCausalContext
from erc.models.context.window import WindowContext
from erc.models.encoder.pooling import Pooling

ContextMode = Literal["window", "turn_causal", "hierarchical"]

__all__ = [
    "ContextEncoder",
    "ContextMode",
    "HierarchicalContext",
    "TurnCausalContext",
    "WindowContext",
    "build_context",
]


def build_context(
    mode: ContextMode,
    *,
    encoder: AnyEncoder,
    pooling: Pooling = "mean_cls",
    token_window: int = 256,
    turn_window: int = 12,
    gate: float | None = None,
    width: int = 256,
    dropout: float = 0.1,
) -> ContextEncoder:
    """The context encoder of a mode over `encoder`.

    `window` reads `token_window`; `turn_causal` reads `turn_window` and `gate` (the initial bias of its
    sigmoid gates, None for gates that start exactly closed); `hierarchical` reads `width` and `dropout` of
    its recurrent layers. Raises ValueError for another mode.
    """
    if mode == "window":
        return WindowContext(encoder=encoder, pooling=pooling, token_window=token_window)
    if mode == "turn_causal":
        return TurnCausalContext(encoder=encoder, pooling=pooling, turn_window=turn_window, gate=gate)
    if mode == "hierarchical":
        return HierarchicalContext(encoder=encoder, pooling=pooling, width=width, dropout=dropout)
    raise ValueError(f"context '{mode}' is unknown: use window, turn_causal or hierarchical")
