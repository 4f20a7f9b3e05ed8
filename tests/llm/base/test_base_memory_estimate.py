"""The activation estimate equals what autograd keeps for the backward pass of tiny models."""

from __future__ import annotations

from contextlib import contextmanager

import pytest
import torch
from lm_parts import build_model
from torch.nn import functional as F

from erc.llm.base.adapters import LoraSettings, attach_lora
from erc.llm.base.memory_estimate import FAMILIES, estimate_memory
from erc.llm.scoring.masks import attention_argument, tree_mask
from erc.training.llm.hooks import enable_checkpointing

TOKENS = 256
SIZES = {
    "vocab_size": 64,
    "hidden_size": 96,
    "intermediate_size": 260,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 24,
}
LORA = LoraSettings(r=4, alpha=8, dropout=0.05)


@contextmanager
def counted(model):
    """Counts the bytes that autograd keeps for a backward pass in the block, without weights."""
    kept: dict[int, torch.UntypedStorage] = {}

    def keep(tensor):
        kept[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage()
        return tensor

    found: list[int] = []
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        yield found
    weights = {parameter.untyped_storage().data_ptr() for parameter in model.parameters()}
    found.append(sum(storage.nbytes() for place, storage in kept.items() if place not in weights))


def measured(family, *, precision, lora=LORA, layers=2, checkpointing=False, **sizes):
    """Bytes kept by a forward pass without the vocabulary layer, and the model's configuration."""
    dtype = torch.bfloat16 if precision == "bf16" else torch.float32
    model = attach_lora(
        build_model(family, **{**SIZES, **sizes}, num_hidden_layers=layers).to(dtype), lora, seed=0
    ).train()
    if checkpointing:
        enable_checkpointing(model)
    segments, positions = torch.zeros(1, TOKENS, dtype=torch.long), torch.arange(TOKENS)[None]
    with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16"):
        mask = attention_argument(
            tree_mask(segments=segments, branches=segments),
            positions,
            positions,
            config=model.config,
            dtype=dtype,
        )
        with counted(model) as found:
            model.base_model.model.model(
                input_ids=torch.full((1, TOKENS), 5),
                attention_mask=mask,
                position_ids=positions,
                use_cache=False,
            )
    return found[0], model.config


def estimated(config, *, precision, lora=LORA, device="cpu", **settings):
    return estimate_memory(
        config, precision=precision, lora=lora, row_tokens=TOKENS, device=device, **settings
    ).activations


def assert_close(estimate, kept):
    assert kept <= estimate
    assert estimate < 1.25 * kept


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("family", FAMILIES)
def test_activation_estimate_equals_the_bytes_kept_by_training(family, precision):
    kept, config = measured(family, precision=precision)
    assert_close(estimated(config, precision=precision), kept)


@pytest.mark.parametrize("family", ["llama", "phi3"])
def test_activation_estimate_with_multi_head_attention_equals_the_bytes_kept(family):
    kept, config = measured(family, precision="bf16", num_key_value_heads=4)
    assert_close(estimated(config, precision="bf16"), kept)


@pytest.mark.parametrize(("dropout", "targets"), [(0.0, "all-linear"), (0.05, ("q_proj", "v_proj"))])
def test_activation_estimate_with_an_adapter_equals_the_bytes_kept(dropout, targets):
    lora = LoraSettings(r=4, alpha=8, dropout=dropout, targets=targets)
    kept, config = measured("llama", precision="bf16", lora=lora)
    assert_close(estimated(config, precision="bf16", lora=lora), kept)


def test_activation_estimate_on_a_gpu_counts_one_byte_dropout_masks(monkeypatch):
    """A GPU keeps a byte mask; a CPU keeps the noise tensor."""
    monkeypatch.setattr(F, "dropout", lambda x, p, training: torch.native_dropout(x, p, training)[0])
    kept, config = measured("llama", precision="bf16")
    assert_close(estimated(config, precision="bf16", device="cuda"), kept)


@pytest.mark.parametrize("family", ["llama", "gemma2"])
def test_activation_estimate_with_checkpointing_counts_block_inputs_and_one_block(family):
    inputs, config = measured(family, precision="bf16", layers=8, checkpointing=True)
    block = measured(family, precision="bf16", layers=3)[0] - measured(family, precision="bf16")[0]
    assert_close(estimated(config, precision="bf16", gradient_checkpointing=True), inputs + block)
