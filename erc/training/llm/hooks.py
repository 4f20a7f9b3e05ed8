"""Hooks on a causal language model in training: logits, noise and memory."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn


def enable_checkpointing(model: Any) -> None:
    """Makes the model compute activations again in the backward pass, which saves memory and takes time."""
    # Newer releases of transformers rename the method and warn about the old name.
    enable = getattr(model, "activation_checkpointing_enable", None) or model.gradient_checkpointing_enable
    enable({"use_reentrant": False})
    model.enable_input_require_grads()


@contextmanager
def embedding_noise(model: Any, example_tokens: Tensor, *, alpha: float) -> Iterator[None]:
    """Adds uniform noise of size alpha / sqrt(L * D) to the input embeddings (NEFTune, Jain et al. 2024).

    `example_tokens` (R, T) holds, for each token, the number L of tokens of its own example; 0 is padding.
    A token that several examples of a packed row share has the mean of their lengths. D is the embedding
    width. No noise is added in evaluation mode or without gradients.
    """
    if not alpha:
        yield
        return

    def noisy(module: nn.Module, inputs: Any, output: Tensor) -> Tensor:
        if not module.training or not torch.is_grad_enabled():
            return output
        real = example_tokens > 0
        size = torch.where(real, alpha / (example_tokens.clamp_min(1.0) * output.shape[-1]).sqrt(), 0.0)
        return output + torch.empty_like(output).uniform_(-1.0, 1.0) * size[..., None].to(output.dtype)

    handle = model.get_input_embeddings().register_forward_hook(noisy)
    try:
        yield
    finally:
        handle.remove()


@contextmanager
def logits_only_at(model: Any, rows: Tensor, columns: Tensor) -> Iterator[None]:
    """Within the block, the model computes logits (1, N, V) only at N places (row, column).

    Logits of all tokens would take much memory, and each row needs different columns.
    """

    def chosen(module: nn.Module, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        return (inputs[0][rows, columns].unsqueeze(0), *inputs[1:])

    handle = model.get_output_embeddings().register_forward_pre_hook(chosen)
    try:
        yield
    finally:
        handle.remove()
