"""Texts of a batch through the encoder in passes of similar length, in two halves so that Monte-Carlo samples share the lower layers.

Shapes: U texts, T tokens of the longest, R texts of one pass, P width of a vector, S drawn networks.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from erc.models.context.layers import AnyEncoder
from erc.models.encoder.batching import length_buckets
from erc.models.encoder.encoder import EncoderState
from erc.models.encoder.pooling import Pooling, pool

_CPU_TOKENS = 1_024  # activations of more tokens leave a core's cache, and a long conversation would cost more a turn than a short one
_TOKENS = 8_192


@dataclass(frozen=True, slots=True)
class Rows:
    """The texts of one pass: their places among all (R,), their tokens under a mask (R, T'), and which of these are pooled (R, T') bool.

    `state` is what the layers below the sampled ones made of them; None where none are below, so that no more
    than one pass of embeddings is held at a time.
    """

    places: Tensor
    input_ids: Tensor
    mask: Tensor
    pooled: Tensor
    state: EncoderState | None


def begin_rows(
    encoder: AnyEncoder, *, input_ids: Tensor, mask: Tensor, pooled: Tensor | None = None, split: int
) -> list[Rows]:
    """Texts (U, T) under mask (U, T) as passes, run through the layers below `split`; `pooled` (U, T) bool marks what is pooled (None: all)."""
    lengths = mask.sum(1).tolist()
    rows = []
    for bucket in length_buckets(
        lengths, max_tokens=_CPU_TOKENS if input_ids.device.type == "cpu" else _TOKENS
    ):
        places = torch.tensor(bucket, device=input_ids.device)
        ids, own = (
            x.index_select(0, places)[:, : lengths[bucket[-1]]] for x in (input_ids, mask)
        )  # the longest stands last
        chosen = own.bool() if pooled is None else pooled.index_select(0, places)[:, : ids.shape[1]]
        state = encoder.run(encoder.start(input_ids=ids, attention_mask=own), last=split) if split else None
        rows.append(Rows(places=places, input_ids=ids, mask=own, pooled=chosen, state=state))
    return rows


def complete_rows(
    encoder: AnyEncoder, rows: Sequence[Rows], *, pooling: Pooling, split: int, copies: int
) -> Tensor:
    """Vectors (S * U, P) of the texts in their order, sample-major, for `copies` networks."""
    parts = []
    for one in rows:
        state = one.state or encoder.start(input_ids=one.input_ids, attention_mask=one.mask)
        hidden = encoder.finish(encoder.run(state.repeat(copies), first=split))
        parts.append(pool(hidden, one.pooled.repeat(copies, 1), pooling).view(copies, len(one.places), -1))
    order = torch.argsort(torch.cat([one.places for one in rows]))
    return torch.cat(parts, dim=1).index_select(1, order).flatten(0, 1)
