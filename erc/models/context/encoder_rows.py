"""Encoding the texts of a batch in passes of similar length.

A pass has two halves, so that Monte-Carlo samples share the layers that are not sampled.

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

# Activations of more tokens do not fit a core's cache, so a long conversation would take more time a turn.
_CPU_TOKENS = 1_024
_TOKENS = 8_192


@dataclass(frozen=True, slots=True)
class Rows:
    """The texts of one pass.

    Attributes:
        places: The index of each text in the batch, (R,).
        input_ids: Token ids, (R, T').
        mask: 1 for real tokens, (R, T').
        pooled: Which tokens are pooled, (R, T') bool.
        state: Output of the layers that are not sampled. None if all layers are sampled, so that the
            embeddings of only one pass are held at a time.
    """

    places: Tensor
    input_ids: Tensor
    mask: Tensor
    pooled: Tensor
    state: EncoderState | None


def begin_rows(
    encoder: AnyEncoder, *, input_ids: Tensor, mask: Tensor, pooled: Tensor | None = None, split: int
) -> list[Rows]:
    """Split texts (U, T) under mask (U, T) into passes and run the layers below `split`.

    `pooled` (U, T) bool marks the tokens that are pooled; None for all real tokens.
    """
    lengths = mask.sum(1).tolist()
    rows = []
    for bucket in length_buckets(
        lengths, max_tokens=_CPU_TOKENS if input_ids.device.type == "cpu" else _TOKENS
    ):
        places = torch.tensor(bucket, device=input_ids.device)
        longest = lengths[bucket[-1]]
        ids, own = (x.index_select(0, places)[:, :longest] for x in (input_ids, mask))
        chosen = own.bool() if pooled is None else pooled.index_select(0, places)[:, : ids.shape[1]]
        state = encoder.run(encoder.start(input_ids=ids, attention_mask=own), last=split) if split else None
        rows.append(Rows(places=places, input_ids=ids, mask=own, pooled=chosen, state=state))
    return rows


def complete_rows(
    encoder: AnyEncoder, rows: Sequence[Rows], *, pooling: Pooling, split: int, copies: int
) -> Tensor:
    """Vectors (S * U, P) of the texts in batch order, sample-major, for `copies` networks."""
    parts = []
    for one in rows:
        state = one.state or encoder.start(input_ids=one.input_ids, attention_mask=one.mask)
        hidden = encoder.finish(encoder.run(state.repeat(copies), first=split))
        parts.append(pool(hidden, one.pooled.repeat(copies, 1), pooling).view(copies, len(one.places), -1))
    order = torch.argsort(torch.cat([one.places for one in rows]))
    return torch.cat(parts, dim=1).index_select(1, order).flatten(0, 1)
