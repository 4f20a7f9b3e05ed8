"""Dry runs: memory use, and the trained and frozen parameters of an encoder by configuration."""

from __future__ import annotations

import pytest

from erc.config import ExperimentConfig, load_config
from erc.errors import ArtefactError
from erc.models.encoder.encoder import DEFAULT_ENCODER, load_encoder
from erc.resources import resource_dir
from erc.training.dry_run import plan_training

# all-MiniLM-L6-v2 without its pooler: 22,713,216 parameters minus 384 * 384 + 384.
MINILM = 22_565_376
WORDS = 30_522 * 384


# Published parameter counts; encoders without a pooler.
PARAMETERS = {
    "meta-llama/Llama-3.2-1B-Instruct": 1_235_814_400,
    "meta-llama/Llama-3.2-3B-Instruct": 3_212_749_824,
    "meta-llama/Llama-2-7b-chat-hf": 6_738_415_616,
    "meta-llama/Llama-2-13b-chat-hf": 13_015_864_320,
    "Qwen/Qwen2.5-1.5B-Instruct": 1_543_714_304,
    "Qwen/Qwen2.5-3B-Instruct": 3_085_938_688,
    "Qwen/Qwen2.5-7B-Instruct": 7_615_616_512,
    "Qwen/Qwen3-4B": 4_022_468_096,
    "Qwen/Qwen3-8B": 8_190_735_360,
    "microsoft/Phi-3.5-mini-instruct": 3_821_079_552,
    "google/gemma-2-2b-it": 2_614_341_888,
    "FacebookAI/roberta-base": 124_645_632 - 768 * 768 - 768,
    "FacebookAI/roberta-large": 355_359_744 - 1024 * 1024 - 1024,
    "answerdotai/ModernBERT-base": 149_014_272,
    DEFAULT_ENCODER: MINILM,
}
SHIPPED = sorted(path.name for path in resource_dir("configs").glob("*.yaml"))


@pytest.mark.parametrize("name", SHIPPED)
def test_dry_run_of_a_shipped_configuration_needs_no_network(name, monkeypatch):
    monkeypatch.setattr("socket.getaddrinfo", lambda *place, **settings: pytest.fail(f"asked for {place[0]}"))
    config = load_config(resource_dir("configs") / name)
    plan = plan_training(config)
    doubled = config.emonet is not None and config.emonet.memory_encoder == "own"
    assert plan.parameters == PARAMETERS[plan.base] * (2 if doubled else 1)
    if plan.note is not None:  # no note if this machine has the model's configuration
        assert plan.base != DEFAULT_ENCODER
        assert plan.note.startswith(f"the configuration of {plan.base} is not in the local cache")
    if config.llm is not None:
        assert plan.memory.total > plan.memory.weights > 0


def test_dry_run_with_micro_batches_counts_the_activations_of_one_micro_batch():
    path = resource_dir("configs") / "llm-llama-3.2-1b.yaml"
    config = load_config(path, ["optim.micro_batch_size="])
    parts = load_config(path, [f"optim.micro_batch_size={config.optim.batch_size // 4}"])
    whole, part = plan_training(config).memory, plan_training(parts).memory
    assert part.activations == pytest.approx(whole.activations / 4, rel=0.05)
    assert part.weights == whole.weights


def test_dry_run_of_an_unknown_model_is_refused_by_name():
    with pytest.raises(ArtefactError, match="some/encoder"):
        plan_of("utterance", "some/encoder")
    with pytest.raises(ArtefactError, match=r"some/model.*cannot be read"):
        plan_training(
            ExperimentConfig(name="toy", task="llm", data={"corpus": "meld"}, llm={"base": "some/model"})
        )


def plan_of(task: str, encoder: str, **sections: object):
    sections = {"backbone": {"name": encoder, **sections.pop("backbone", {})}, **sections}
    return plan_training(ExperimentConfig(name="toy", task=task, data={"corpus": "meld"}, **sections))


def test_dry_run_reads_the_default_encoder_from_its_package():
    plan = plan_training(load_config(resource_dir("configs") / "goemotions-minilm.yaml"))
    frozen = (
        WORDS
        if load_config(resource_dir("configs") / "goemotions-minilm.yaml").backbone.freeze_word_embeddings
        else 0
    )
    assert (plan.base, plan.parameters, plan.frozen) == (DEFAULT_ENCODER, MINILM, frozen)


@pytest.mark.parametrize("freeze", [True, False])
def test_dry_run_does_not_count_frozen_word_embeddings_as_trained(tiny_encoder_dir, freeze):
    encoder = load_encoder(str(tiny_encoder_dir))
    encoder.word_embeddings.weight.requires_grad_(not freeze)
    trained = sum(value.numel() for value in encoder.parameters() if value.requires_grad)
    summary = plan_of("utterance", str(tiny_encoder_dir), backbone={"freeze_word_embeddings": freeze}).summary
    assert (f"{trained:,} of them trained" if freeze else "all of them trained") in summary


def test_dry_run_of_a_shared_encoder_counts_no_trained_parameters(tiny_encoder_dir):
    emonet = {"encoder": "shared", "context": "hierarchical", "speaker_text": "none"}
    assert "none of them trained" in plan_of("emonet", str(tiny_encoder_dir), emonet=emonet).summary


def test_dry_run_with_an_own_memory_encoder_counts_both_encoders(tiny_encoder_dir):
    one, two = (
        plan_of("emonet", str(tiny_encoder_dir), emonet={"memory_encoder": kind}) for kind in ("none", "own")
    )
    assert (two.parameters, two.frozen) == (2 * one.parameters, 2 * one.frozen)
