"""Exact scores of closed answer sets under a causal language model.

The prompt is read once and its keys and values are kept. All answers then run in one forward pass. With
`tree` they are in one row per prompt, and each attends to the prompt and to itself. With `repeat` each has
its own row over a copy of the cache, for models whose positions depend on the place in the row. The score
of an answer is the sum of the log-probabilities of all its tokens.

Shapes: B prompts, T prompt tokens, K answers, Q answer tokens in a row, V vocabulary. Monte-Carlo passes
hold R = S*B rows, sample-major.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from transformers import DynamicCache

from erc.llm.base.architectures import Strategy
from erc.llm.scoring.masks import NO_SEGMENT, attention_argument, computing_dtype, tree_mask
from erc.models.dropout import Draw, drawn

Ids = Sequence[int]


@dataclass(frozen=True, slots=True)
class DrawSpec:
    """The dropout samples of a Monte-Carlo pass: the sample numbers `samples` of seed `seed`."""

    seed: int
    samples: tuple[int, ...]

    @property
    def rows(self) -> int:
        """How many rows of the batch each prompt has."""
        return len(self.samples)


@dataclass(slots=True)
class PrefixState:
    """The state after reading prompts.

    Attributes:
        cache: Keys and values of T tokens.
        mask: bool (R, T), False for padding.
        lengths: (R,) real tokens.
        next_log_probs: (R, V) float32, log-probabilities of the next token.
        draw: The dropout samples used, if any.
    """

    cache: DynamicCache
    mask: Tensor
    lengths: Tensor
    next_log_probs: Tensor
    draw: DrawSpec | None = None


def drawing(draw: DrawSpec | None, positions: Tensor) -> AbstractContextManager[None]:
    """Applies the dropout samples of `draw`, if any, within the block, to tokens at `positions` (S*B, T)."""
    if draw is None:
        return nullcontext()
    inputs = positions.shape[0] // draw.rows
    return drawn(Draw(seed=draw.seed, samples=draw.samples, positions=positions[:inputs].cpu()))


@torch.inference_mode()
def read_prefixes(
    model: Any, prefixes: Sequence[Ids], *, pad_id: int, draw: DrawSpec | None = None
) -> PrefixState:
    """Reads prompts of any lengths, padded on the left, and caches their keys and values.

    The cache keeps every token in every layer, also in layers with a sliding window, so it can be
    truncated.
    """
    device = model.get_input_embeddings().weight.device
    width = max(map(len, prefixes))
    input_ids = torch.tensor(
        [[pad_id] * (width - len(row)) + list(row) for row in prefixes], dtype=torch.long, device=device
    )
    lengths = torch.tensor([len(row) for row in prefixes], device=device)
    if draw is not None:
        input_ids, lengths = input_ids.repeat(draw.rows, 1), lengths.repeat(draw.rows)
    mask = torch.arange(width, device=device) >= (width - lengths)[:, None]
    positions = (mask.long().cumsum(dim=1) - 1).clamp_min(0)
    cache = DynamicCache()
    with drawing(draw, positions):
        output = model(
            input_ids=input_ids,
            attention_mask=mask.long(),
            position_ids=positions,
            past_key_values=cache,
            use_cache=True,
            logits_to_keep=1,
        )
    return PrefixState(cache, mask, lengths, output.logits[:, -1].float().log_softmax(-1), draw)


@torch.inference_mode()
def score_answers(
    model: Any,
    state: PrefixState,
    answers: Sequence[Sequence[Ids]],
    *,
    strategy: Strategy = "tree",
    max_row_tokens: int = 2048,
) -> Tensor:
    """Log-likelihoods (R, K) float64 on the CPU of K token sequences after each of the R rows of `state`.

    `answers` holds K sequences for each of the B prompts, of any length. The state does not change. Answers
    that would make a row longer than `max_row_tokens` run in several passes.

    Raises:
        ValueError: the prompts have different numbers of answers, or an answer has no token.
    """
    count = check_answers(answers)
    rows = [of_prompt for _ in range(1 if state.draw is None else state.draw.rows) for of_prompt in answers]
    first = torch.tensor([[ids[0] for ids in row] for row in rows], device=state.next_log_probs.device)
    scores = state.next_log_probs.gather(1, first).double()
    run = _tree_pass if strategy == "tree" else _repeat_pass
    for chunk in _chunks(
        [max(len(of_prompt[k]) for of_prompt in answers) - 1 for k in range(count)], limit=max_row_tokens
    ):
        scores[:, chunk] += run(model, state, [[row[k] for k in chunk] for row in rows])
    return scores.cpu()


def check_answers(answers: Sequence[Sequence[Ids]]) -> int:
    """The number of answers of each prompt.

    Raises:
        ValueError: the prompts have different numbers of answers, or an answer has no token.
    """
    count = len(answers[0])
    if any(len(of_prompt) != count for of_prompt in answers) or any(
        not ids for of_prompt in answers for ids in of_prompt
    ):
        raise ValueError("every prompt needs the same number of answers, none of them empty")
    return count


def _chunks(costs: Sequence[int], *, limit: int) -> list[list[int]]:
    """Indices in order, in groups whose summed costs stay within `limit`; costs of 0 need no pass."""
    chunks: list[list[int]] = []
    filled = 0
    for index, cost in enumerate(costs):
        if cost == 0:
            continue
        if not chunks or filled + cost > limit:
            chunks.append([])
            filled = 0
        chunks[-1].append(index)
        filled += cost
    return chunks


def _tree_pass(model: Any, state: PrefixState, rows: Sequence[Sequence[Ids]]) -> Tensor:
    """Sums of the log-probabilities of each answer's tokens after its first, (R, K)."""
    device = state.mask.device
    width = max(sum(len(ids) - 1 for ids in row) for row in rows)
    input_ids = torch.zeros(len(rows), width, dtype=torch.long)
    target = torch.zeros_like(input_ids)
    depth = torch.zeros_like(input_ids)
    branch = torch.full_like(input_ids, NO_SEGMENT)
    for r, row in enumerate(rows):
        at = 0
        for k, ids in enumerate(row):
            size = len(ids) - 1
            input_ids[r, at : at + size] = torch.tensor(ids[:-1], dtype=torch.long)
            target[r, at : at + size] = torch.tensor(ids[1:], dtype=torch.long)
            depth[r, at : at + size] = torch.arange(size)
            branch[r, at : at + size] = k
            at += size
    input_ids, target, depth, branch = (x.to(device) for x in (input_ids, target, depth, branch))
    positions = state.lengths[:, None] + depth
    # Every answer is its own segment. Its trunk, the prompt, is in the cache and visible to all answers.
    among = tree_mask(segments=branch, branches=torch.zeros_like(branch))
    mask = torch.cat([state.mask[:, None, :].expand(-1, width, -1), among], dim=2)
    trunk = (state.mask.long().cumsum(dim=1) - 1).clamp_min(0)
    argument = attention_argument(
        mask,
        positions,
        torch.cat([trunk, positions], dim=1),
        config=model.config,
        dtype=computing_dtype(model),
    )
    with drawing(state.draw, positions):
        output = model(
            input_ids=input_ids,
            attention_mask=argument,
            position_ids=positions,
            past_key_values=state.cache,
            use_cache=True,
        )
    state.cache.crop(-width)
    found = _token_log_probs(output.logits, target).masked_fill(branch == NO_SEGMENT, 0.0)
    sums = torch.zeros(len(rows), len(rows[0]), dtype=torch.double, device=device)
    return sums.scatter_add_(1, branch.clamp_min(0), found.double())


def _repeat_pass(model: Any, state: PrefixState, rows: Sequence[Sequence[Ids]]) -> Tensor:
    """As `_tree_pass`, with a row and a copy of the cache for every answer."""
    device, count = state.mask.device, len(rows[0])
    flat = [ids for row in rows for ids in row]
    width = max(len(ids) for ids in flat) - 1
    input_ids = torch.tensor(
        [[*ids[:-1], *[0] * (width + 1 - len(ids))] for ids in flat], dtype=torch.long, device=device
    )
    target = torch.tensor(
        [[*ids[1:], *[0] * (width + 1 - len(ids))] for ids in flat], dtype=torch.long, device=device
    )
    real = (
        torch.arange(width, device=device)
        < torch.tensor([len(ids) - 1 for ids in flat], device=device)[:, None]
    )
    mask = torch.cat([state.mask.repeat_interleave(count, dim=0), real], dim=1)
    positions = state.lengths.repeat_interleave(count)[:, None] + torch.arange(width, device=device)
    layers: list[Any] = list(state.cache.layers)
    cache = DynamicCache([(layer.keys, layer.values) for layer in layers])
    cache.batch_repeat_interleave(count)
    with drawing(state.draw, positions):
        output = model(
            input_ids=input_ids,
            attention_mask=mask.long(),
            position_ids=positions,
            past_key_values=cache,
            use_cache=True,
        )
    found = _token_log_probs(output.logits, target).masked_fill(~real, 0.0)
    return found.double().sum(dim=1).view(len(rows), count)


def _token_log_probs(logits: Tensor, target: Tensor) -> Tensor:
    """Log-probability of each target token, (R, Q) float32, without a second tensor over the vocabulary."""
    values = logits.float()
    return values.gather(2, target[:, :, None]).squeeze(2) - values.logsumexp(dim=2)
