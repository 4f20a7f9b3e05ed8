"""One encoder layer in two halves, for each encoder family: before attention and after it.

`turn_causal` needs its own attention, over earlier turns, with the encoder's weights. `project` gives the
queries, keys and values of a layer, and `merge` computes everything after attention.
`erc.models.context.packed` puts its attention between the two.

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
    """Queries, keys and values (..., X, H, F), with rotary positions applied if the family has them."""

    query: Tensor
    key: Tensor
    value: Tensor


def heads_of(encoder: AnyEncoder) -> int:
    """H, the number of attention heads of a layer."""
    return int(encoder.config.num_attention_heads)


def embed(encoder: AnyEncoder, input_ids: Tensor, positions: Tensor) -> tuple[Tensor, Rotary]:
    """Embed a row of several texts: input_ids and positions (1, X); positions start at 0 in each text."""
    if isinstance(encoder, EmCoderEncoder):
        return encoder.embed(input_ids), {"full_attention": encoder.rotary_at(positions)}
    model = encoder.backbone
    if encoder.rotary:
        hidden = model.embeddings(input_ids=input_ids)
        return hidden, {
            kind: model.rotary_emb(hidden, positions, kind) for kind in set(model.config.layer_types)
        }
    if hasattr(model.embeddings, "create_position_ids_from_input_ids"):
        # RoBERTa's positions start after the padding id.
        positions = positions + model.embeddings.padding_idx + 1
    return model.embeddings(input_ids=input_ids, position_ids=positions), {}


def project(layer: Any, hidden: Tensor, rotary: Rotary, *, heads: int) -> Projected:
    """Queries, keys and values of `layer` for hidden (..., X, D)."""
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
    """The rest of a layer after attention: hidden and attended (..., X, D) -> (..., X, D)."""
    if isinstance(layer, EmCoderBlock):
        return layer.merge(hidden, attended)
    if hasattr(layer, "attn_norm"):
        hidden = hidden + layer.attn.out_drop(layer.attn.Wo(attended))
        return hidden + layer.mlp(layer.mlp_norm(hidden))
    return layer.feed_forward_chunk(layer.attention.output(attended, hidden))


def finish(encoder: AnyEncoder, hidden: Tensor) -> Tensor:
    """Apply the final norm, if the family has one."""
    if isinstance(encoder, EmCoderEncoder):
        return encoder.final_norm(hidden)
    return encoder.backbone.final_norm(hidden) if encoder.rotary else hidden


def reach(layer: Any) -> int | None:
    """Tokens that a token attends to on either side (ModernBERT's local layers); None for the whole text."""
    window = getattr(getattr(layer, "attn", None), "sliding_window", None)
    return None if window is None else int(window) - 1
