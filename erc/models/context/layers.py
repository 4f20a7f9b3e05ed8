"""The inside of one encoder layer, family by family: what attention reads and what is made of its answer.

A conversation model needs attention of its own (over earlier turns), but the encoder's weights. So each layer
is taken apart into `project` (queries, keys, values) and `merge` (all that follows attention);
`context_packed` puts another attention between them.

Shapes: X tokens in a row, D hidden width, H heads, F width of a head. Leading dimensions are free.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from torch import Tensor
from transformers.models.modernbert.modeling_modernbert import apply_rotary_pos_emb

from erc.models.emcoder import EmCoderBlock, EmCoderEncoder
from erc.models.encoder.encoder import Encoder

AnyEncoder = Encoder | EmCoderEncoder
Rotary = dict[str, tuple[Tensor, Tensor]]


class Projected(NamedTuple):
    """Queries, keys and values (..., X, H, F), rotated where the family rotates them."""

    query: Tensor
    key: Tensor
    value: Tensor


def heads_of(encoder: AnyEncoder) -> int:
    """H, the attention heads of each layer."""
    return int(encoder.config.num_attention_heads)


def embed(encoder: AnyEncoder, input_ids: Tensor, positions: Tensor) -> tuple[Tensor, Rotary]:
    """Embeds a row of several texts: input_ids and positions (1, X), positions counting from 0 in each text."""
    if isinstance(encoder, EmCoderEncoder):
        return encoder.embed(input_ids), {"full_attention": encoder.rotary_at(positions)}
    model = encoder.backbone
    if encoder.rotary:
        hidden = model.embeddings(input_ids=input_ids)
        return hidden, {
            kind: model.rotary_emb(hidden, positions, kind) for kind in set(model.config.layer_types)
        }
    if hasattr(
        model.embeddings, "create_position_ids_from_input_ids"
    ):  # RoBERTa numbers positions from behind the padding id
        positions = positions + model.embeddings.padding_idx + 1
    return model.embeddings(input_ids=input_ids, position_ids=positions), {}


def project(layer: Any, hidden: Tensor, rotary: Rotary, *, heads: int) -> Projected:
    """hidden (..., X, D) -> queries, keys and values of `layer`."""
    if isinstance(layer, EmCoderBlock):
        return Projected(*layer.project(hidden, rotary["full_attention"]))
    if hasattr(layer, "attn_norm"):  # ModernBERT
        mixed = layer.attn.Wqkv(layer.attn_norm(hidden))
        query, key, value = mixed.view(*hidden.shape[:-1], 3, heads, -1).unbind(dim=-3)
        query, key = apply_rotary_pos_emb(query, key, *rotary[layer.attention_type], unsqueeze_dim=-2)
        return Projected(query, key, value)
    attention = layer.attention.self
    shape = (*hidden.shape[:-1], heads, -1)
    return Projected(
        attention.query(hidden).view(shape),
        attention.key(hidden).view(shape),
        attention.value(hidden).view(shape),
    )


def merge(layer: Any, hidden: Tensor, attended: Tensor) -> Tensor:
    """What follows attention: hidden and attended (..., X, D) -> the layer's output (..., X, D)."""
    if isinstance(layer, EmCoderBlock):
        return layer.merge(hidden, attended)
    if hasattr(layer, "attn_norm"):
        hidden = hidden + layer.attn.out_drop(layer.attn.Wo(attended))
        return hidden + layer.mlp(layer.mlp_norm(hidden))
    return layer.feed_forward_chunk(layer.attention.output(attended, hidden))


def finish(encoder: AnyEncoder, hidden: Tensor) -> Tensor:
    """The final norm, where the family has one."""
    if isinstance(encoder, EmCoderEncoder):
        return encoder.final_norm(hidden)
    return encoder.backbone.final_norm(hidden) if encoder.rotary else hidden


def reach(layer: Any) -> int | None:
    """How far a token sees to either side within its own text, None for all of it (ModernBERT's local layers)."""
    window = getattr(getattr(layer, "attn", None), "sliding_window", None)
    return None if window is None else int(window) - 1
