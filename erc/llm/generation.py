"""Text written by a local language model: bios and what else a recipe has a model write. Labels are never made this way, they are scored."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch

from erc.errors import ConfigError
from erc.llm.encoding import PromptEncoder
from erc.llm.prompts import RenderedPrompt


@dataclass(frozen=True, slots=True)
class GenerationSettings:
    """`temperature` 0 takes the likeliest token each time; above 0 tokens are drawn among the likeliest that make up `top_p`, with `seed`."""

    max_new_tokens: int = 160
    temperature: float = 0.0
    top_p: float = 1.0
    seed: int = 0

    def __post_init__(self) -> None:
        if self.max_new_tokens < 1 or self.temperature < 0 or not 0 < self.top_p <= 1:
            raise ConfigError(
                f"max_new_tokens={self.max_new_tokens}, temperature={self.temperature}, top_p={self.top_p}: expected at least 1, at least 0, (0, 1]"
            )


def generate(model: Any, encoder: PromptEncoder, prompts: Sequence[RenderedPrompt], *, settings: GenerationSettings, pad_id: int) -> list[str]:
    """What the model writes after each prompt, up to the token that ends its turn.

    Prompts run one at a time and a draw depends on its own prompt and the seed alone, so a text does not hang on its neighbours.
    """
    written = [_written(model, encoder, prompt, settings, pad_id) for prompt in prompts]
    return [str(encoder.tokenizer.decode(ids, skip_special_tokens=True)).strip() for ids in written]


@torch.inference_mode()
def _written(model: Any, encoder: PromptEncoder, prompt: RenderedPrompt, settings: GenerationSettings, pad_id: int) -> list[int]:
    """Token ids, without the one that ends the turn."""
    from transformers import GenerationConfig

    device = model.get_input_embeddings().weight.device
    ids = torch.tensor([encoder.prompt_ids(prompt)], device=device)
    sampled = {"do_sample": True, "temperature": settings.temperature, "top_p": settings.top_p, "top_k": 0} if settings.temperature else {}
    # A model's own settings of generation stay out: they would make two models' greedy texts two different things.
    chosen = {"do_sample": False, **sampled, "max_new_tokens": settings.max_new_tokens}
    config = GenerationConfig(**chosen, eos_token_id=encoder.terminator, pad_token_id=pad_id)
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.manual_seed(settings.seed)
        output = model.generate(input_ids=ids, attention_mask=torch.ones_like(ids), generation_config=config)
    fresh: list[int] = output[0, ids.shape[1] :].tolist()
    return fresh[: fresh.index(encoder.terminator)] if encoder.terminator in fresh else fresh
