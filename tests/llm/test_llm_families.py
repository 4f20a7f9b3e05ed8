"""Memory estimates: parameters counted exactly against tiny real models of every family, and the parts add up."""

from __future__ import annotations

import pytest
from lm_parts import build_model
from transformers import AutoConfig

from erc.errors import ArtefactError
from erc.llm.adapters import LoraSettings, attach_lora
from erc.llm.families import FAMILIES, Shape, estimate_memory

# Published shapes and parameter counts, so that the counting is held against something it did not make itself.
PUBLISHED = {
    "Llama-3.2-1B": ("llama", 1_235_814_400, (128256, 2048, 16, 32, 8, 64, 8192, True)),
    "Qwen2.5-1.5B": ("qwen2", 1_543_714_304, (151936, 1536, 28, 12, 2, 128, 8960, True)),
    "Llama-2-7B": ("llama", 6_738_415_616, (32000, 4096, 32, 32, 32, 128, 11008, False)),
    "Gemma-2-2B": ("gemma2", 2_614_341_888, (256000, 2304, 26, 8, 4, 256, 9216, True)),
    "Phi-3.5-mini": ("phi3", 3_821_079_552, (32064, 3072, 32, 32, 32, 96, 8192, False)),
    "Qwen3-4B": ("qwen3", 4_022_468_096, (151936, 2560, 36, 32, 8, 128, 9728, True)),
}
KEYS = ("vocab_size", "hidden_size", "num_hidden_layers", "num_attention_heads", "num_key_value_heads", "head_dim", "intermediate_size")


def config_of(name):
    kind, _, values = PUBLISHED[name]
    return AutoConfig.for_model(kind, **dict(zip((*KEYS, "tie_word_embeddings"), values, strict=True)))


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("family", FAMILIES)
def test_parameters_are_counted_exactly(family, tied):
    model = build_model(family, tie_word_embeddings=tied)
    assert Shape.of(model.config).parameters == sum(parameter.numel() for parameter in model.parameters())


@pytest.mark.parametrize("targets", ["all-linear", ("q_proj", "v_proj", "qkv_proj")])
@pytest.mark.parametrize("family", FAMILIES)
def test_adapter_parameters_are_counted_exactly(family, targets):
    settings = LoraSettings(r=3, targets=targets)
    model = attach_lora(build_model(family), settings)
    assert Shape.of(model.config).lora_parameters(settings) == sum(p.numel() for p in model.parameters() if p.requires_grad)


@pytest.mark.parametrize("name", PUBLISHED)
def test_parameters_of_published_models_are_met(name):
    assert Shape.of(config_of(name)).parameters == PUBLISHED[name][1]


def test_four_bit_weights_take_about_a_quarter_of_bf16():
    small, large = (estimate_memory(config_of("Llama-2-7B"), precision=p).weights for p in ("4bit", "bf16"))
    assert 0.25 < small / large < 0.32


def test_checkpointing_trades_activations():
    settings = {"lora": LoraSettings(), "rows": 4}
    plain, saving = (estimate_memory(config_of("Llama-3.2-1B"), gradient_checkpointing=on, **settings) for on in (False, True))
    assert saving.activations < 0.2 * plain.activations
    assert saving.weights == plain.weights


def test_labelling_needs_no_gradients_and_keeps_a_cache():
    found = estimate_memory(config_of("Llama-3.2-1B"), training=False, lora=LoraSettings(), rows=2, row_tokens=512)
    assert (found.gradients, found.optimiser) == (0, 0)
    assert found.cache == 2 * 16 * 8 * 64 * 1024 * 2
    assert found.total == found.weights + found.adapter + found.activations + found.logits + found.cache


def test_unknown_family_is_an_artefact_error():
    with pytest.raises(ArtefactError, match="bert"):
        estimate_memory(AutoConfig.for_model("bert"))
