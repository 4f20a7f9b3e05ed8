"""Text that a language model writes, such as bios. Labels are scored, never generated."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch

from erc.errors import ConfigError
from erc.llm.prompts.encoding import PromptEncoder
from erc.llm.prompts.template import RenderedPrompt
from erc.llm.scoring.exact import Ids
from erc.models.encoder.batching import length_buckets

_MOST_ROWS = 64


@dataclass(frozen=True, slots=True)
class GenerationSettings:
    """How text is generated.

    Attributes:
        max_new_tokens: Most tokens of a text.
        temperature: 0 takes the most probable token each time; above 0, tokens are sampled.
        top_p: Tokens are sampled from the most probable ones with this total probability.
        seed: Seed of the sampling.
    """

    max_new_tokens: int = 160
    temperature: float = 0.0
    top_p: float = 1.0
    seed: int = 0

    def __post_init__(self) -> None:
        if self.max_new_tokens < 1 or self.temperature < 0 or not 0 < self.top_p <= 1:
            raise ConfigError(
                f"max_new_tokens={self.max_new_tokens}, temperature={self.temperature}, top_p={self.top_p}: "
                "expected at least 1, at least 0, (0, 1]"
            )


class Generator(Protocol):
    """A backend that writes text: `LocalScorer`, `ServerGenerator`, or one of them loaded later.

    `encoder` measures prompts.
    """

    encoder: PromptEncoder
    model_id: str

    def generate(
        self, prompts: Sequence[RenderedPrompt], *, settings: GenerationSettings | None = None
    ) -> list[str]:
        """The text after each prompt."""
        ...


def generate(
    model: Any,
    encoder: PromptEncoder,
    prompts: Sequence[RenderedPrompt],
    *,
    settings: GenerationSettings,
    pad_id: int,
    max_tokens: int = 8192,
) -> list[str]:
    """The text after each prompt, up to the token that ends the model's turn.

    Greedy texts are generated in left-padded batches of similar length, with at most `max_tokens` tokens of
    prompts and texts. Each equals the text its prompt gets alone, except for ties within rounding error. A
    sampled text is generated alone, so it depends only on its own prompt and the seed.
    """
    rows = [encoder.prompt_ids(prompt) for prompt in prompts]
    written: list[list[int]] = [[] for _ in rows]
    most_rows = 1 if settings.temperature else _MOST_ROWS
    for bucket in length_buckets(
        [len(ids) + settings.max_new_tokens for ids in rows], max_tokens=max_tokens, max_rows=most_rows
    ):
        for index, ids in zip(
            bucket,
            _written(model, [rows[i] for i in bucket], encoder.terminator, settings, pad_id),
            strict=True,
        ):
            written[index] = ids
    return [str(encoder.tokenizer.decode(ids, skip_special_tokens=True)).strip() for ids in written]


@torch.inference_mode()
def _written(
    model: Any, rows: Sequence[Ids], terminator: int, settings: GenerationSettings, pad_id: int
) -> list[list[int]]:
    """Token ids after each row of prompt ids, without the one that ends the turn."""
    from transformers import GenerationConfig

    device, width = model.get_input_embeddings().weight.device, max(map(len, rows))
    input_ids = torch.tensor([[pad_id] * (width - len(row)) + list(row) for row in rows], device=device)
    mask = (
        (torch.arange(width) >= torch.tensor([width - len(row) for row in rows])[:, None]).long().to(device)
    )
    sampled = (
        {"do_sample": True, "temperature": settings.temperature, "top_p": settings.top_p, "top_k": 0}
        if settings.temperature
        else {}
    )
    # The model's own generation settings are ignored, so "greedy" means the same for all models.
    chosen = {"do_sample": False, **sampled, "max_new_tokens": settings.max_new_tokens}
    config = GenerationConfig(**chosen, eos_token_id=terminator, pad_token_id=pad_id)
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.manual_seed(settings.seed)
        output = model.generate(input_ids=input_ids, attention_mask=mask, generation_config=config)
    return [_up_to(ids, terminator) for ids in output[:, width:].tolist()]


def _up_to(ids: list[int], terminator: int) -> list[int]:
    return ids[: ids.index(terminator)] if terminator in ids else ids
