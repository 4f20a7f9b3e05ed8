"""Text written by a language model: bios and what else a recipe has a model write. Labels are never made this way, they are scored."""

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


class Generator(Protocol):
    """A back end that writes text: `LocalScorer`, or `ServerGenerator` for a model on a server. `encoder` measures prompts."""

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
    """What the model writes after each prompt, up to the token that ends its turn.

    The likeliest texts are written for prompts of about one length side by side, padded on the left, at most
    `max_tokens` tokens of prompts and texts in a batch. Each is the one its prompt has alone, but where two
    tokens are as likely as each other to within rounding. A drawn text is written alone: its draw depends on
    its own prompt and the seed, and would otherwise hang on its neighbours.
    """
    rows = [encoder.prompt_ids(prompt) for prompt in prompts]
    written: list[list[int]] = [[] for _ in rows]
    run_parallel = 1 if settings.temperature else _MOST_ROWS
    for bucket in length_buckets(
        [len(ids) + settings.max_new_tokens for ids in rows], max_tokens=max_tokens, max_rows=run_parallel
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
    # A model's own settings of generation stay out: they would make two models' greedy texts two different
    # things.
    chosen = {"do_sample": False, **sampled, "max_new_tokens": settings.max_new_tokens}
    config = GenerationConfig(**chosen, eos_token_id=terminator, pad_token_id=pad_id)
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.manual_seed(settings.seed)
        output = model.generate(input_ids=input_ids, attention_mask=mask, generation_config=config)
    return [_up_to(ids, terminator) for ids in output[:, width:].tolist()]


def _up_to(ids: list[int], terminator: int) -> list[int]:
    return ids[: ids.index(terminator)] if terminator in ids else ids
