"""Scores prompts with a shared prefix together; the prefix is read once.

The prompts of a dialogue grow at the end, so each shares all but its last lines with the previous one. They
form a tree, which is laid out in one row. Every token attends to its own prompt up to itself, every answer
to its prompt and to itself. The keys and values of the last prompt are cached for the next call.

Shapes: B prompts, K answers, N new tokens of a pass, C cached tokens, S dropout samples (1 without a draw).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor
from transformers import DynamicCache

from erc.llm.scoring.exact import DrawSpec, Ids, check_answers, drawing
from erc.llm.scoring.masks import attention_argument, computing_dtype

PASS_TOKENS = 1024
"""New tokens of one pass: enough to keep a processor busy, few enough for a small mask."""


@dataclass(slots=True)
class _Row:
    """The layout of one pass. Places count the cached tokens first, then the new ones.

    Attributes:
        cached: Number of cached tokens.
        ids: Ids of the new tokens.
        positions: Position of each new token in its text.
        sees: The places that each new token attends to.
        asked: Entries (place, token, score), each of which adds the log-probability of `token` after `place`
            to score number `score`.
    """

    cached: int
    ids: list[int] = field(default_factory=list)
    positions: list[int] = field(default_factory=list)
    sees: list[np.ndarray] = field(default_factory=list)
    asked: list[tuple[int, int, int]] = field(default_factory=list)

    def add(self, ids: Ids, trunk: np.ndarray) -> np.ndarray:
        """Appends tokens after those at the places `trunk`; returns the places of both."""
        places = np.concatenate([trunk, self.cached + len(self.ids) + np.arange(len(ids))])
        self.ids.extend(ids)
        self.positions.extend(range(len(trunk), len(places)))
        self.sees.extend(places[: end + 1] for end in range(len(trunk), len(places)))
        return places

    def ask(self, ids: Ids, prompt: np.ndarray, score: int) -> None:
        """Appends an answer to the prompt at these places, without its last token, which nothing follows."""
        places = self.add(ids[:-1], prompt)
        self.asked.extend(
            (int(place), token, score) for place, token in zip(places[len(prompt) - 1 :], ids, strict=True)
        )

    def mask(self) -> Tensor:
        """The attention mask, bool (1, N, C + N)."""
        mask = np.zeros((1, len(self.ids), self.cached + len(self.ids)), dtype=bool)
        for row, places in enumerate(self.sees):
            mask[0, row, places] = True
        return torch.from_numpy(mask)


class PrefixReader:
    """Scores prompts and caches the last one; not thread-safe. A new reader gives the same scores.

    With `draw`, each dropout sample has its own keys and values.
    """

    def __init__(self, model: Any, *, draw: DrawSpec | None = None) -> None:
        self._model = model
        self._draw = draw
        self._ids: list[int] = []
        self._cache = DynamicCache()
        self.tokens_read = 0
        """Prompt tokens computed so far, by each network; the rest was shared."""

    @property
    def nbytes(self) -> int:
        """Bytes held: the storage of keys and values, and the last prompt's ids."""
        layers: list[Any] = list(self._cache.layers)
        return sum(
            part.untyped_storage().nbytes() for layer in layers for part in (layer.keys, layer.values)
        ) + 8 * len(self._ids)

    @torch.inference_mode()
    def score(self, prompts: Sequence[Ids], answers: Sequence[Sequence[Ids]]) -> Tensor:
        """Log-likelihoods (S, B, K) float64 on the CPU of K token sequences after each prompt, in one pass.

        `answers` holds K sequences for each prompt, of any length. A prompt reuses the prefix it shares with
        the previous one, so similar prompts should be neighbours.

        Raises:
            ValueError: a prompt or an answer has no token, or the prompts have different numbers of
                answers.
        """
        count = check_answers(answers)
        if not all(prompts):
            raise ValueError("a prompt without tokens")
        shared, cache, held = shared_tokens(self._ids, prompts[0]), self._cache, len(self._ids)
        self._ids, self._cache = [], DynamicCache()  # the cache is invalid if the pass fails
        if shared:
            cache.crop(shared - held)
        else:
            cache = DynamicCache()
        row, path, read = _laid_out(prompts, answers, cached=shared)
        logits, column = self._pass(row, cache)
        index = torch.tensor([column[place] for place, _, _ in row.asked], device=logits.device)
        target = torch.tensor([token for _, token, _ in row.asked], device=logits.device)
        found = logits[:, index, target] - logits.logsumexp(dim=2)[:, index]
        scores = torch.zeros(len(logits), len(prompts) * count, dtype=torch.double)
        scores.index_add_(1, torch.tensor([score for _, _, score in row.asked]), found.double().cpu())
        _keep(cache, path)
        self._ids, self._cache = list(prompts[-1]), cache
        self.tokens_read += read
        return scores.view(len(logits), len(prompts), count)

    def _pass(self, row: _Row, cache: DynamicCache) -> tuple[Tensor, dict[int, int]]:
        """Logits (S, M, V) float32 after the M places in question, and the column of each place."""
        device = self._model.get_input_embeddings().weight.device
        networks = 1 if self._draw is None else self._draw.rows
        positions = torch.tensor([row.positions], device=device)
        keys = torch.cat([torch.arange(row.cached, device=device)[None], positions], dim=1)
        mask = attention_argument(
            row.mask().to(device),
            positions,
            keys,
            config=self._model.config,
            dtype=computing_dtype(self._model),
        )
        places = sorted({place for place, _, _ in row.asked})
        positions = positions.expand(networks, -1)
        with drawing(self._draw, positions):
            output = self._model(
                input_ids=torch.tensor([row.ids], device=device).expand(networks, -1),
                attention_mask=mask,
                position_ids=positions,
                past_key_values=cache,
                use_cache=True,
                logits_to_keep=torch.tensor(places, device=device) - row.cached,
            )
        return output.logits.float(), {place: column for column, place in enumerate(places)}


def _laid_out(
    prompts: Sequence[Ids], answers: Sequence[Sequence[Ids]], *, cached: int
) -> tuple[_Row, np.ndarray, int]:
    """The row of a pass, the places of the last prompt, and the number of new prompt tokens.

    `cached` tokens of the first prompt are in the cache.
    """
    row, path, before, read, score = _Row(cached), np.arange(cached), prompts[0][:cached], 0, 0
    for ids, of_prompt in zip(prompts, answers, strict=True):
        shared = shared_tokens(before, ids)
        path = row.add(ids[shared:], path[:shared])
        read += len(ids) - shared
        before = ids
        for answer in of_prompt:
            row.ask(answer, path, score)
            score += 1
    return row, path, read


def _keep(cache: DynamicCache, places: np.ndarray) -> None:
    """Keeps only the keys and values at these places, which start with a prefix of the cache."""
    layers: list[Any] = list(cache.layers)
    if len(places) == places[-1] + 1:
        cache.crop(len(places) - cache.get_seq_length())
        return
    index = torch.from_numpy(places).to(layers[0].keys.device)
    for layer in layers:
        layer.keys, layer.values = layer.keys.index_select(2, index), layer.values.index_select(2, index)


def shared_tokens(before: Ids, ids: Ids) -> int:
    """The number of tokens of `ids` that need not be read again after `before`.

    The last one is always read, because answers follow its output.
    """
    return min(common_prefix(before, ids), len(ids) - 1)


def common_prefix(first: Ids, second: Ids) -> int:
    """The length of the shared prefix of two sequences."""
    shared = 0
    for a, b in zip(first, second, strict=False):
        if a != b:
            break
        shared += 1
    return shared


def passes(
    prompts: Sequence[Ids], answers: Sequence[Sequence[Ids]], *, max_tokens: int
) -> Iterator[list[int]]:
    """Yields groups of prompt indices with at most `max_tokens` new tokens; similar prompts are together.

    A longer prompt has a pass of its own.
    """
    batch: list[int] = []
    before: Ids = ()
    filled = 0
    for index in sorted(range(len(prompts)), key=lambda i: list(prompts[i])):
        ids = prompts[index]
        cost = len(ids) - shared_tokens(before, ids) + sum(len(answer) - 1 for answer in answers[index])
        if batch and filled + cost > max_tokens:
            yield batch
            batch, filled = [], 0
        batch.append(index)
        filled += cost
        before = ids
    if batch:
        yield batch
