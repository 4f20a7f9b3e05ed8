"""Batched passes of the utterance classifier over tokenised texts, with results in input order.

Shapes: N texts, B texts of a batch, C emotions, P embedding width, S samples.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from erc.models.encoder.batching import length_buckets, pad_tokens
from erc.models.encoder.precision import resolve_precision
from erc.models.mc_modes import McMode
from erc.models.utterance import UtteranceClassifier, UtteranceOutput


class BatchRunner(Protocol):
    """Calls `work` once for every batch, in any order and from any thread, without gradients."""

    def __call__(self, work: Callable[[list[int]], None], batches: Sequence[list[int]], /) -> None:
        """Calls `work` with each of `batches`, which are lists of text numbers."""
        ...


@dataclass(frozen=True, slots=True)
class McDraw:
    """Monte-Carlo samples to draw for every batch.

    Attributes:
        mode: Which dropout layers are sampled; not `off`.
        samples: Number of samples S.
        reduce: Turns the logits (S, B, C) of a batch into named arrays (B, ...), so that samples of other
            batches need not be kept.
        top_k: Upper encoder layers sampled in mode `top-k`.
        seed: Sample s of a seed is the same network for every text.
    """

    mode: McMode
    samples: int
    reduce: Callable[[Tensor], Mapping[str, np.ndarray]]
    top_k: int = 1
    seed: int = 0


@dataclass(frozen=True, slots=True)
class UtteranceBatches:
    """Results for N texts in input order.

    `logits` (N, C) and `embedding` (N, P) are float32 and come from the deterministic pass. `drawn` holds the
    arrays (N, ...) that `McDraw.reduce` gave; it is empty without a draw and without texts.
    """

    logits: np.ndarray
    embedding: np.ndarray
    drawn: Mapping[str, np.ndarray]


def run_serially(work: Callable[[list[int]], None], batches: Sequence[list[int]]) -> None:
    """Runs the batches one after the other, without gradients."""
    with torch.no_grad():
        for batch in batches:
            work(batch)


def encode_utterances(
    network: UtteranceClassifier,
    texts: Sequence[Sequence[int]],
    *,
    pad_id: int,
    batch_tokens: int,
    precision: str | None = None,
    draw: McDraw | None = None,
    run: BatchRunner = run_serially,
) -> UtteranceBatches:
    """Runs `network` over texts given as token ids, in batches of similar length.

    The network runs in evaluation mode on its own device and is left as it was. How texts are batched changes
    results only by rounding.

    Args:
        network: The classifier.
        texts: Token ids of each text.
        pad_id: Token id for padding.
        batch_tokens: Most padded tokens of a batch; a longer text gets a batch of its own.
        precision: `auto`, `bf16` or `fp32`: the precision of autocast over the weights as they are. None
            computes in the precision of the weights.
        draw: Monte-Carlo samples to draw in addition to the deterministic pass.
        run: Runs the batches, for example in parallel threads.

    Raises:
        ConfigError: For an unknown precision.
        NoDropoutError: For a draw from a network without dropout.
        ValueError: For a draw whose mode samples nothing, or with fewer than one sample or layer.
    """
    device = next(network.parameters()).device
    autocast = precision is not None and resolve_precision(precision) == "bf16"
    logits = np.empty((len(texts), network.head.output.out_features), dtype=np.float32)
    embedding = np.empty((len(texts), network.embedding_width), dtype=np.float32)
    reduced: list[tuple[list[int], Mapping[str, np.ndarray]]] = []

    def encode(batch: list[int]) -> None:
        padded = pad_tokens([texts[i] for i in batch], pad_id=pad_id)
        ids, mask = (tensor.to(device) for tensor in padded)
        with torch.autocast(device.type, dtype=torch.bfloat16, enabled=autocast):
            output = network(input_ids=ids, attention_mask=mask)
            samples = None if draw is None else _draw(network, output, ids, mask, draw)
        logits[batch] = output.logits.float().cpu().numpy()
        embedding[batch] = output.embedding.float().cpu().numpy()
        if draw is not None and samples is not None:
            reduced.append((batch, draw.reduce(samples)))

    was_training = network.training
    if was_training:
        network.eval()
    try:
        run(encode, list(length_buckets([len(text) for text in texts], max_tokens=batch_tokens)))
    finally:
        if was_training:
            network.train()
    return UtteranceBatches(logits=logits, embedding=embedding, drawn=_in_input_order(reduced, len(texts)))


def _draw(
    network: UtteranceClassifier, output: UtteranceOutput, ids: Tensor, mask: Tensor, draw: McDraw
) -> Tensor:
    """Sampled logits (S, B, C); the head's samples reuse the embedding of the deterministic pass."""
    if draw.mode == McMode.HEAD:
        return network.mc_head(output.embedding, n_samples=draw.samples, seed=draw.seed)
    return network.mc_forward(ids, mask, draw.samples, seed=draw.seed, mode=draw.mode, top_k=draw.top_k)


def _in_input_order(
    reduced: Sequence[tuple[list[int], Mapping[str, np.ndarray]]], count: int
) -> dict[str, np.ndarray]:
    arrays: dict[str, np.ndarray] = {}
    for batch, values in reduced:
        for name, value in values.items():
            if name not in arrays:
                arrays[name] = np.empty((count, *value.shape[1:]), dtype=value.dtype)
            arrays[name][batch] = value
    return arrays
