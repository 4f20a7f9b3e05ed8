"""Parameter counts and memory of each model family; shipped configurations train with tiny models."""

from __future__ import annotations

import numpy as np
import pytest
from lm_parts import build_model
from safetensors.torch import load_file
from tiny_corpora import write_corpora
from transformers import AutoConfig
from typer.testing import CliRunner

from erc.cli.app import app
from erc.config import load_config
from erc.errors import ArtefactError, ConfigError
from erc.llm.backends.local import LocalScorer
from erc.llm.base.adapters import AdapterRecord, LoraSettings, attach_lora
from erc.llm.base.memory_estimate import FAMILIES, Shape, estimate_memory
from erc.llm.prompts.builder import PromptBuilder
from erc.resources import resource_dir
from erc.training.dry_run import published_shape

# Published shapes and parameter counts, as an independent reference.
PUBLISHED = {
    "Llama-3.2-1B": ("llama", 1_235_814_400, (128256, 2048, 16, 32, 8, 64, 8192, True)),
    "Qwen2.5-1.5B": ("qwen2", 1_543_714_304, (151936, 1536, 28, 12, 2, 128, 8960, True)),
    "Llama-2-7B": ("llama", 6_738_415_616, (32000, 4096, 32, 32, 32, 128, 11008, False)),
    "Gemma-2-2B": ("gemma2", 2_614_341_888, (256000, 2304, 26, 8, 4, 256, 9216, True)),
    "Phi-3.5-mini": ("phi3", 3_821_079_552, (32064, 3072, 32, 32, 32, 96, 8192, False)),
    "Qwen3-4B": ("qwen3", 4_022_468_096, (151936, 2560, 36, 32, 8, 128, 9728, True)),
}
KEYS = (
    "vocab_size",
    "hidden_size",
    "num_hidden_layers",
    "num_attention_heads",
    "num_key_value_heads",
    "head_dim",
    "intermediate_size",
)


def config_of(name):
    kind, _, values = PUBLISHED[name]
    return AutoConfig.for_model(kind, **dict(zip((*KEYS, "tie_word_embeddings"), values, strict=True)))


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("family", FAMILIES)
def test_parameter_count_is_exact(family, tied):
    model = build_model(family, tie_word_embeddings=tied)
    assert Shape.of(model.config).parameters == sum(parameter.numel() for parameter in model.parameters())


@pytest.mark.parametrize("targets", ["all-linear", ("o_proj", "attention")])
@pytest.mark.parametrize("family", FAMILIES)
def test_adapter_parameter_count_is_exact(family, targets):
    attention = ("qkv_proj",) if family == "phi3" else ("q_proj", "v_proj")
    settings = LoraSettings(r=3, targets=targets if targets == "all-linear" else ("o_proj", *attention))
    model = attach_lora(build_model(family), settings)
    assert Shape.of(model.config).lora_parameters(settings) == sum(
        p.numel() for p in model.parameters() if p.requires_grad
    )


@pytest.mark.parametrize(
    ("family", "missing", "there"), [("phi3", "q_proj", "qkv_proj"), ("llama", "qkv_proj", "q_proj")]
)
def test_lora_target_that_matches_no_layer_is_refused(family, missing, there):
    """Other targets match, so neither PEFT nor the estimate would report it."""
    settings, model = LoraSettings(r=3, targets=("o_proj", missing)), build_model(family)
    with pytest.raises(ConfigError, match=rf"called {missing}; there are .*{there}"):
        Shape.of(model.config).lora_parameters(settings)
    with pytest.raises(ConfigError, match=rf"\['{missing}'\].*there are .*{there}"):
        attach_lora(model, settings)


@pytest.mark.parametrize("name", PUBLISHED)
def test_parameter_count_equals_that_of_published_models(name):
    assert Shape.of(config_of(name)).parameters == PUBLISHED[name][1]


def test_four_bit_weights_need_about_a_quarter_of_bf16_memory():
    small, large = (estimate_memory(config_of("Llama-2-7B"), precision=p).weights for p in ("4bit", "bf16"))
    assert 0.25 < small / large < 0.32


def test_gradient_checkpointing_reduces_activation_memory():
    settings = {"lora": LoraSettings(), "rows": 4}
    plain, saving = (
        estimate_memory(config_of("Llama-3.2-1B"), gradient_checkpointing=on, **settings)
        for on in (False, True)
    )
    assert saving.activations < 0.2 * plain.activations
    assert saving.weights == plain.weights


def test_labelling_memory_has_a_cache_and_no_gradients():
    found = estimate_memory(
        config_of("Llama-3.2-1B"), training=False, lora=LoraSettings(), rows=2, row_tokens=512
    )
    assert (found.gradients, found.optimiser) == (0, 0)
    assert found.cache == 2 * 16 * 8 * 64 * 1024 * 2
    assert found.total == found.weights + found.adapter + found.activations + found.logits + found.cache


def test_unknown_family_raises_an_artefact_error():
    with pytest.raises(ArtefactError, match="bert"):
        estimate_memory(AutoConfig.for_model("bert"))


# --- training by the shipped configurations

MODELS = sorted(
    path.name
    for family in ("llama", "qwen", "phi", "gemma")
    for path in resource_dir("configs").glob(f"llm-{family}*.yaml")
)


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return write_corpora(tmp_path_factory.mktemp("families") / "data")


@pytest.fixture(scope="module")
def bases(tmp_path_factory, chat_tokenizer):
    """Tiny models with random weights, by family."""
    folder = tmp_path_factory.mktemp("bases")

    def made(family):
        if not (folder / family).exists():
            build_model(family).save_pretrained(folder / family)
            chat_tokenizer.save_pretrained(folder / family)
        return folder / family

    return made


@pytest.mark.parametrize("name", MODELS)
def test_shipped_configuration_trains_a_tiny_model_of_its_architecture(name, data, bases, tmp_path):
    """Training changes the adapter of every counted layer; 4-bit bases run unquantized here."""
    shipped = load_config(resource_dir("configs") / name).llm
    base = bases(published_shape(shipped.base)["model_type"])
    quick = [
        "data.train_limit=2",
        "data.dev_limit=2",
        "llm.max_tokens=500",
        "llm.turns=1",
        "optim.epochs=1.0",
        "optim.batch_size=4",
    ]
    precision = ["llm.precision=bf16"] if shipped.precision == "4bit" else []
    call = [
        "train",
        name.removesuffix(".yaml"),
        f"data.root={data}",
        f"llm.base={base}",
        *quick,
        *precision,
        "--run",
        str(tmp_path / "run"),
        "--quiet",
    ]
    result = CliRunner().invoke(app, call, catch_exceptions=False)
    assert result.exit_code == 0, result.output
    [folder] = (path.parent for path in (tmp_path / "run").glob("*/adapter_config.json"))
    record = AdapterRecord.load(folder)
    assert (record.base, record.label_set) == (str(base), "meld")
    weights = load_file(folder / "adapter_model.safetensors")
    config = AutoConfig.from_pretrained(base)
    assert sum(value.numel() for value in weights.values()) == Shape.of(config).lora_parameters(
        LoraSettings(**record.extra["config"]["llm"]["lora"])
    )
    assert all(value.any() for key, value in weights.items() if "lora_B" in key)
    scorer = LocalScorer.load(str(base), adapter=folder, precision="fp32", device="cpu")
    prompt = PromptBuilder(encoder=scorer.encoder, labels=record.labels).content_free()
    assert np.isfinite(scorer.score([prompt], record.labels).log_likelihood).all()
