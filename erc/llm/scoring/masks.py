"""Tree attention: several continuations of one trunk in one row that do not attend to each other.

A token has a segment (packed example; -1 is padding, -2 the prefix shared by all segments), a branch (0 is
the trunk, then one number per continuation) and a place in the row. It attends to the row's shared prefix,
its own segment's trunk and its own branch, up to itself. This rule is used for label scoring over a cached
prompt, for training over all labels of an example, and for packed examples.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from erc.llm.base.architectures import text_config

NO_SEGMENT = -1
SHARED = -2


def tree_mask(*, segments: Tensor, branches: Tensor) -> Tensor:
    """The attention mask, bool (R, T, T), queries before keys, from segments and branches (R, T).

    A padding token attends to itself, so its softmax is defined.
    """
    width = segments.shape[1]
    same = segments[:, :, None] == segments[:, None, :]
    open_branch = (branches[:, None, :] == 0) | (branches[:, :, None] == branches[:, None, :])
    beginning = (segments == SHARED)[:, None, :]
    order = torch.arange(width, device=segments.device)
    causal = order[:, None] >= order[None, :]
    real = (segments != NO_SEGMENT)[:, None, :]
    itself = torch.eye(width, dtype=torch.bool, device=segments.device)
    return (((same & open_branch) | beginning) & causal & real) | itself


def additive(mask: Tensor, *, dtype: torch.dtype) -> Tensor:
    """A bool mask (R, Q, K) as the float mask (R, 1, Q, K) that models add to attention scores."""
    return (
        torch.zeros(mask.shape, dtype=dtype, device=mask.device)
        .masked_fill_(~mask, torch.finfo(dtype).min)
        .unsqueeze(1)
    )


def attention_argument(
    mask: Tensor, positions: Tensor, key_positions: Tensor, *, config: Any, dtype: torch.dtype
) -> Any:
    """The `attention_mask` argument for a tree mask (R, Q, K).

    It is a mapping by kind of layer if some layers have a sliding window. `positions` (R, Q) and
    `key_positions` (R, K) are positions in the text, in which a window is measured.
    """
    window = sliding_window(config)
    if window is None:
        return additive(mask, dtype=dtype)
    near = positions[:, :, None] - key_positions[:, None, :] < window
    sliding = additive(mask & near, dtype=dtype)
    kinds = set(getattr(text_config(config), "layer_types", None) or ())
    if not kinds:
        return sliding  # every layer of such a model has the window
    return {kind: sliding if kind == "sliding_attention" else additive(mask, dtype=dtype) for kind in kinds}


def sliding_window(config: Any) -> int | None:
    """How many tokens back the model's windowed layers see; None for a model without such layers."""
    kinds = getattr(text_config(config), "layer_types", None)
    window = getattr(text_config(config), "sliding_window", None)
    if window is None or (kinds is not None and "sliding_attention" not in kinds):
        return None
    return int(window)


def computing_dtype(model: nn.Module) -> torch.dtype:
    """The dtype of the model's hidden states: that of autocast if enabled, else that of the weights."""
    device = next(model.parameters()).device.type
    if torch.is_autocast_enabled(device):
        return torch.get_autocast_dtype(device)
    return next(parameter.dtype for parameter in model.parameters() if parameter.dtype.is_floating_point)
