"""What a training run would take: which values of an encoder are trained under which configuration."""

from __future__ import annotations

import pytest

from erc.config import ExperimentConfig, load_config
from erc.models.encoder import DEFAULT_ENCODER, load_encoder
from erc.resources import resource_dir
from erc.training.dry_run import plan_training

# all-MiniLM-L6-v2 without its pooler: 22,713,216 values less 384 * 384 + 384.
MINILM = 22_565_376
WORDS = 30_522 * 384


def plan_of(task: str, encoder: str, **sections: object):
    sections = {"backbone": {"name": encoder, **sections.pop("backbone", {})}, **sections}
    return plan_training(ExperimentConfig(name="toy", task=task, data={"corpus": "meld"}, **sections))


def test_dry_run_describes_the_default_encoder_from_its_package():
    plan = plan_training(load_config(resource_dir("configs") / "goemotions-minilm.yaml"))
    frozen = WORDS if load_config(resource_dir("configs") / "goemotions-minilm.yaml").backbone.freeze_word_embeddings else 0
    assert (plan.base, plan.parameters, plan.frozen) == (DEFAULT_ENCODER, MINILM, frozen)


@pytest.mark.parametrize("freeze", [True, False])
def test_dry_run_leaves_frozen_word_embeddings_out_of_what_is_trained(tiny_encoder_dir, freeze):
    encoder = load_encoder(str(tiny_encoder_dir))
    encoder.word_embeddings.weight.requires_grad_(not freeze)
    trained = sum(value.numel() for value in encoder.parameters() if value.requires_grad)
    summary = plan_of("utterance", str(tiny_encoder_dir), backbone={"freeze_word_embeddings": freeze}).summary
    assert (f"{trained:,} of them trained" if freeze else "all of them trained") in summary


def test_dry_run_of_a_shared_encoder_trains_none_of_it(tiny_encoder_dir):
    emonet = {"encoder": "shared", "context": "hierarchical", "speaker_text": "none"}
    assert "none of them trained" in plan_of("emonet", str(tiny_encoder_dir), emonet=emonet).summary


def test_dry_run_counts_the_second_encoder_of_an_own_memory(tiny_encoder_dir):
    one, two = (plan_of("emonet", str(tiny_encoder_dir), emonet={"memory_encoder": kind}) for kind in ("none", "own"))
    assert (two.parameters, two.frozen) == (2 * one.parameters, 2 * one.frozen)
