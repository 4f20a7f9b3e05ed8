"""What the architecture of a causal language model allows: how its answers can be scored, and how many tokens it has positions for.

Told from its configuration and its class, before weights are loaded. Whoever loads a model asks here, and
nobody else knows kinds of models.
"""

from __future__ import annotations

import inspect
from typing import Any, Literal

from erc.errors import ArtefactError

Strategy = Literal["tree", "repeat"]
"""How closed answers are scored: side by side in one row under a mask of ours, or each in a row of its own after a copy of the prompt's cache."""
Use = Literal["training", "scoring", "writing"]

_MASKED = {"full_attention", "sliding_attention"}
"""Kinds of layers that attend as a mask of ours says."""
_CHUNKED = {"chunked_attention"}
_BIASED = ("bloom", "mpt")
"""Model types whose positions are a linear bias (ALiBi) without a word of it in their configuration."""
_SCALED = ("linear", "dynamic", "yarn")
"""Rotary positions that reach `factor` times as far as the configuration's number of positions says."""


def strategy_of(config: Any, kind: type) -> Strategy | None:
    """The cheapest way in which answers of a model of class `kind` are scored rightly; None where there is none.

    `tree` puts tokens elsewhere in a row than in the text, so the model must take positions, and nothing in
    it may go by the place in the row: no linear bias (ALiBi), no window or chunk of its own. `repeat` only
    needs keys and values that can be copied and gone on from, which layers that carry a state have not.
    Encoders that can be made to decode, and decoders of encoders, count positions in ways of their own.
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
    """`strategy_of` a loaded model, with or without an adapter."""
    bare = (
        model.get_base_model()
        if hasattr(model, "peft_config") and hasattr(model, "get_base_model")
        else model
    )
    return strategy_of(bare.config, type(bare))


def require_use(config: Any, *, name: str, use: Use) -> None:
    """Raises ArtefactError where a model with this configuration cannot be put to `use`; one that transformers does not know passes.

    Writing takes no more than what every causal model does. Training packs the answers of an example into a
    row, as `tree` does.
    """
    from transformers import AutoModelForCausalLM

    found: Any = AutoModelForCausalLM._model_mapping.get(type(config), None)
    if use == "writing" or found is None:
        return
    strategy = strategy_of(config, found[0] if isinstance(found, tuple) else found)
    if strategy is None:
        raise ArtefactError(
            f"language model '{name}' is of type '{config.model_type}', whose answers cannot be scored: that takes a decoder of full or "
            "sliding-window attention in every layer, such as Llama, Qwen 2 and 3, Phi, Gemma or Mistral, and no recurrent or convolutional ones; "
            "a model of another type can label from a server (--server)"
        )
    if use == "training" and strategy != "tree":
        raise ArtefactError(
            f"language model '{name}' is of type '{config.model_type}', which can label but not be trained here: training packs answers into one "
            "row, and this model tells positions by the place in a row; choose a base with positions of its own, such as Llama, Qwen, Phi or Gemma"
        )


def positions_of(config: Any) -> int | None:
    """How many tokens, prompt and answer together, the model has positions for; None where it states no limit."""
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
    """The part of a configuration that describes the language model; a model that also sees has one of its own for it."""
    return config.get_text_config(decoder=True)
