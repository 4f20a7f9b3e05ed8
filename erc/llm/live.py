"""A conversation that goes on: what a model has read of it is kept between turns.

The prompt of the next turn mostly begins as the last one did (instruction, bios, dialogue so far). The cached keys and values are
cut back to the common beginning, and only what follows is read.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from transformers import DynamicCache

from erc.llm.scoring import Ids, PrefixState, Strategy, score_answers


class LivePrefix:
    """The cache of one conversation. Belongs to one thread at a time; a fresh one gives the same scores, only later."""

    def __init__(self, model: Any) -> None:
        self._model = model
        self._ids: list[int] = []
        self._state: PrefixState | None = None
        self.tokens_read = 0
        """Tokens computed so far; the rest was taken from the cache."""

    @torch.inference_mode()
    def advance(self, ids: Ids) -> PrefixState:
        """The state after reading the prompt `ids`, reusing what it shares with the prompt before."""
        if not ids:
            raise ValueError("a prompt without tokens")
        # At least the last token is read anew: its output is where the answers begin.
        shared = min(common_prefix(self._ids, ids), len(ids) - 1)
        cache = DynamicCache() if self._state is None or shared == 0 else self._state.cache
        self._state = None  # where the pass below fails half-way, the next call starts afresh
        if shared:
            cache.crop(shared - len(self._ids))
        device = self._model.get_input_embeddings().weight.device
        fresh = torch.tensor([ids[shared:]], dtype=torch.long, device=device)
        mask = torch.ones(1, len(ids), dtype=torch.bool, device=device)
        positions = torch.arange(shared, len(ids), device=device)[None]
        output = self._model(
            input_ids=fresh, attention_mask=mask.long(), position_ids=positions, past_key_values=cache, use_cache=True, logits_to_keep=1
        )
        self.tokens_read += len(ids) - shared
        self._ids = list(ids)
        log_probs = output.logits[:, -1].float().log_softmax(-1)
        self._state = PrefixState(cache, mask, torch.tensor([len(ids)], device=device), log_probs)
        return self._state

    def score(self, ids: Ids, answers: Sequence[Ids], *, strategy: Strategy = "tree") -> torch.Tensor:
        """Log-likelihoods (1, K) of the answers after the prompt `ids`."""
        return score_answers(self._model, self.advance(ids), [answers], strategy=strategy)


def common_prefix(first: Ids, second: Ids) -> int:
    """How many tokens two sequences share at their beginning."""
    shared = 0
    for a, b in zip(first, second, strict=False):
        if a != b:
            break
        shared += 1
    return shared
