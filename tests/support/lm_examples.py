"""A tiny random language model and training examples whose tokens are plain numbers."""

from __future__ import annotations

import torch

from erc.training.llm.batches import LlmExample

LABELS = ("joy", "sadness", "neutral")
ANSWERS = ((5, 6, 2), (7, 2), (8, 9, 10, 2))


def build_model(model_type="llama", seed=3, **overrides):
    from transformers import AutoConfig, AutoModelForCausalLM

    sizes = {
        "vocab_size": 64,
        "hidden_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
    }
    config = AutoConfig.for_model(
        model_type,
        **sizes,
        head_dim=8,
        intermediate_size=48,
        pad_token_id=0,
        bos_token_id=1,
        eos_token_id=2,
        **overrides,
    )
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = AutoModelForCausalLM.from_config(config)
    for parameter in model.parameters():
        if parameter.dim() >= 2:
            parameter.data.mul_(4.0)
    return model.eval()


def example(seed, length=12, target=1, **settings):
    prompt = torch.randint(11, 60, (length,), generator=torch.Generator().manual_seed(seed)).tolist()
    return LlmExample(tuple(prompt), settings.pop("answers", ANSWERS), target, **settings)


def unequal(count):
    """Examples with different answers, lengths and weights; every fourth has free text."""
    kinds = [
        {"emotion": True},
        {"answers": ANSWERS[:2], "weight": 0.3},
        {"emotion": True, "target": 2},
        {"answers": ((5, 6, 9, 8, 7, 2),), "target": 0},
    ]
    return [
        example(seed, 5 + 3 * seed % 11, **{"target": seed % 2, **kinds[seed % 4]}) for seed in range(count)
    ]
