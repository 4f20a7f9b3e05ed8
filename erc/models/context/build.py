"""The table of context modes; each mode is described in its own file."""

from __future__ import annotations

from typing import Final

from erc.models.context.base import ContextEncoder
from erc.models.context.hierarchical import HierarchicalContext
from erc.models.context.layers import AnyEncoder
from erc.models.context.turn_causal import TurnCausalContext
from erc.models.context.window import WindowContext
from erc.models.emonet.settings import EmoNetSettings

CONTEXTS: Final[dict[str, type[ContextEncoder]]] = {
    "window": WindowContext,
    "turn_causal": TurnCausalContext,
    "hierarchical": HierarchicalContext,
}
"""The class of each context mode; its `from_settings` reads what it needs."""


def build_context(settings: EmoNetSettings, *, encoder: AnyEncoder) -> ContextEncoder:
    """Build the context encoder of `settings.context` over `encoder`.

    Raises:
        ValueError: If the mode is unknown, or the encoder cannot read as many tokens as the settings ask for.
    """
    if settings.context not in CONTEXTS:
        raise ValueError(f"context '{settings.context}' is unknown: use {', '.join(CONTEXTS)}")
    return CONTEXTS[settings.context].from_settings(settings, encoder=encoder)
