"""Scores of candidate answers, and the losses made from them.

Shapes: R rows, T tokens in a row, N answer tokens, E examples, K candidate answers.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Literal

import torch
from torch import Tensor

from erc.llm.scoring.masks import attention_argument, computing_dtype, tree_mask
from erc.llm.scoring.prefix_tree import PASS_TOKENS, PrefixReader, passes
from erc.training.llm.batches import LlmExample
from erc.training.llm.hooks import embedding_noise, logits_only_at
from erc.training.loop.task import Batch

LlmLoss = Literal["tokens", "labels", "both"]
"""Which losses are summed.

- `tokens`: the loss of the answer's tokens, as in usual fine-tuning of language models.
- `labels`: the cross entropy of the right label among all labels, as in scoring. Free-text answers have no
  other labels and use `tokens`.
- `both`: the sum of the two.
"""


def answer_scores(model: Any, batch: Batch, *, neftune: float = 0.0) -> tuple[Tensor, Tensor]:
    """Log-likelihoods (E, K) of every candidate, and their token counts (E, K).

    An example with fewer than K candidates is padded with minus infinity and 0. `neftune` is the alpha of
    `embedding_noise`.
    """
    segments, positions = batch["segments"], batch["position_ids"]
    mask = tree_mask(segments=segments, branches=batch["branches"])
    # With several processes the model is wrapped. Calling the wrapper synchronises the gradients.
    bare = getattr(model, "module", model)
    argument = attention_argument(
        mask, positions, positions, config=bare.config, dtype=computing_dtype(model)
    )
    with (
        logits_only_at(bare, batch["token_row"], batch["token_column"]),
        embedding_noise(bare, batch["example_tokens"], alpha=neftune),
    ):
        output = model(
            input_ids=batch["input_ids"], attention_mask=argument, position_ids=positions, use_cache=False
        )
    logits = output.logits.squeeze(0).float()
    found = logits.gather(1, batch["token_id"][:, None]).squeeze(1) - logits.logsumexp(dim=1)
    answers = torch.zeros(batch["answer_example"].shape[0], device=found.device).index_add(
        0, batch["token_answer"], found
    )
    counts = answer_counts(batch)
    place = (batch["answer_example"], batch["answer_place"])
    return torch.full(counts.shape, -math.inf, device=found.device).index_put(place, answers), counts


def answer_counts(batch: Batch) -> Tensor:
    """Tokens of every candidate, (E, K) float32; 0 where an example has fewer."""
    device, places = batch["target"].device, batch["answer_place"]
    tokens = torch.ones(batch["token_answer"].shape[0], device=device)
    sizes = torch.zeros(places.shape[0], device=device).index_add(0, batch["token_answer"], tokens)
    shape = (batch["target"].shape[0], int(places.max()) + 1)
    return torch.zeros(shape, device=device).index_put((batch["answer_example"], places), sizes)


def answer_losses(
    scores: Tensor,
    counts: Tensor,
    batch: Batch,
    *,
    kind: LlmLoss,
    class_weights: Tensor | None,
    label_smoothing: float,
) -> list[tuple[Tensor, Tensor]]:
    """The mean losses of the examples, in nats, each with its divisor; scalars.

    The first is the smoothed mean over candidates of minus the log-likelihood, divided by the number of
    tokens. With `labels` it covers only examples with a single answer. The second, absent with `tokens`, is
    the cross entropy of the softmax over candidates, divided by the number of examples with several.
    Smoothing gives 1 - s to the right answer and spreads s evenly over the closed set.

    Class weights are those of a weighted mean and are part of the divisor. The weight of a task is not part
    of it, so that it does not depend on the other examples of the batch.
    """
    real = counts > 0
    size = real.sum(dim=1)
    smoothing = torch.where(size > 1, label_smoothing, 0.0)
    share = real / size[:, None] * smoothing[:, None]
    share = share.scatter_add(1, batch["target"][:, None], (1.0 - smoothing)[:, None])
    rarity = torch.ones_like(batch["weight"])
    if class_weights is not None:
        rarity = torch.where(
            batch["emotion"],
            class_weights.to(rarity.device)[batch["target"].clamp_max(len(class_weights) - 1)],
            rarity,
        )
    sums: list[tuple[Tensor, Tensor]] = []
    weights = rarity * (size == 1) if kind == "labels" else rarity
    spent = -(share * scores.masked_fill(~real, 0.0)).sum(dim=1)
    sums.append(((batch["weight"] * weights * spent).sum(), (weights * (share * counts).sum(dim=1)).sum()))
    if kind != "tokens":
        spent = -(share * scores.log_softmax(dim=1).masked_fill(~real, 0.0)).sum(dim=1)
        closed = rarity * (size > 1)
        sums.append(((batch["weight"] * closed * spent).sum(), closed.sum()))
    return [(total / divisor.clamp_min(1e-8), divisor) for total, divisor in sums]


def predict_answers(model: Any, examples: Sequence[LlmExample], *, max_tokens: int = PASS_TOKENS) -> Tensor:
    """Log-likelihoods (E, K) float64 of examples that all have K candidates.

    `max_tokens` limits the new tokens of a pass. A common beginning of several prompts is read once.
    """
    prompts, answers = [example.prompt for example in examples], [example.answers for example in examples]
    scores, reader = torch.zeros(len(examples), len(answers[0]), dtype=torch.double), PrefixReader(model)
    for chosen in passes(prompts, answers, max_tokens=max_tokens):
        scores[chosen] = reader.score([prompts[i] for i in chosen], [answers[i] for i in chosen])[0]
    return scores
