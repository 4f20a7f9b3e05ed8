"""What a causal language model's architecture allows: scoring strategies and positions.

Decided from its configuration and class, before weights are loaded. All knowledge of model types is here.
"""

from __future__ import annotations

import inspect
from typing import Any, Literal

from erc.errors import ArtefactError

Strategy = Literal["tree", "repeat"]
"""How closed answers are scored.

`tree`: in one row under our attention mask. `repeat`: each in its own row after a copy of the prompt's
cache.
"""
Use = Literal["training", "scoring", "writing"]

_MASKED = {"full_attention", "sliding_attention"}
"""Kinds of layers that follow our attention mask."""
_CHUNKED = {"chunked_attention"}
_BIASED = ("bloom", "mpt")
"""Model types with a linear position bias (ALiBi) that their configuration does not mention."""
_SCALED = ("linear", "dynamic", "yarn")
"""Kinds of rotary positions that reach `factor` times the configured number of positions."""


def strategy_of(config: Any, kind: type) -> Strategy | None:
    """The cheapest strategy that scores answers of a model of class `kind` correctly; None without one.

    With `tree`, the place of a token in the row differs from its position in the text. The model must accept
    position ids, and nothing else may depend on the place: no linear bias (ALiBi), no built-in window or
    chunks. `repeat` only needs keys and values that can be copied and extended, which stateful layers lack.
    Encoders used as decoders, and decoders of encoder-decoder models, count positions differently.
    """
    text, takes = text_config(config), inspect.signature(kind.forward).parameters  # type: ignore[attr-defined]
    kinds = set(getattr(text, "layer_types", None) or ())
    encoder = config.is_encoder_decoder or ("encoder_hidden_states" in takes and hasattr(text, "is_decoder"))
    stateful = (
        getattr(kind, "_is_stateful", False)
        or "past_key_values" not in takes
        or not kinds <= _MASKED | _CHUNKED
    )
    if encoder or stateful:
        return None
    biased = config.model_type in _BIASED or getattr(text, "alibi", False)
    if biased or kinds & _CHUNKED or "local" in (getattr(text, "attention_layers", None) or ()):
        return "repeat"
    return "tree" if "position_ids" in takes else None


def best_strategy(model: Any) -> Strategy | None:
    """`strategy_of` for a loaded model, with or without an adapter."""
    bare = (
        model.get_base_model()
        if hasattr(model, "peft_config") and hasattr(model, "get_base_model")
        else model
    )
    return strategy_of(bare.config, type(bare))


def require_use(config: Any, *, name: str, use: Use) -> None:
    """Checks that a model with this configuration can be put to `use`; unknown model types pass.

    Every causal model can write. Training packs an example's answers into one row, as `tree` does.

    Raises:
        ArtefactError: the model cannot be put to `use`.
    """
    from transformers import AutoModelForCausalLM

    found: Any = AutoModelForCausalLM._model_mapping.get(type(config), None)
    if use == "writing" or found is None:
        return
    strategy = strategy_of(config, found[0] if isinstance(found, tuple) else found)
    if strategy is None:
        raise ArtefactError(
            f"language model '{name}' is of type '{config.model_type}', whose answers cannot be scored: "
            "that needs a decoder with full or sliding-window attention in every layer and no recurrent or "
            "convolutional layers, such as Llama, Qwen 2 and 3, Phi, Gemma or Mistral; other models can "
            "label from a server (--server)"
        )
    if use == "training" and strategy != "tree":
        raise ArtefactError(
            f"language model '{name}' is of type '{config.model_type}', which can label but not be trained "
            "here: training packs answers into one row, and this model derives positions from the place in "
            "the row; choose a base with position ids, such as Llama, Qwen, Phi or Gemma"
        )


def positions_of(config: Any) -> int | None:
    """The number of positions, for prompt and answer together; None without a stated limit."""
    text = text_config(config)
    stated = next(
        (n for key in ("max_position_embeddings", "max_seq_len") if (n := getattr(text, key, None))), None
    )
    if stated is None or stated < 1:
        return None
    rotary = getattr(text, "rope_parameters", None) or {}
    kind, factor = rotary.get("rope_type"), rotary.get("factor") or 1.0
    if kind not in _SCALED:
        return int(stated)
    return int(max(stated, (rotary.get("original_max_position_embeddings") or stated) * factor))


def text_config(config: Any) -> Any:
    """The language model's part of a configuration; multimodal models have a separate one."""
    return config.get_text_config(decoder=True)
