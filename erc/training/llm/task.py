"""Training a causal language model to answer, by the one Trainer.

Shapes: R rows, T tokens in a row, N answer tokens, E examples, K candidate answers.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn

from erc.llm.scoring.masks import attention_argument, computing_dtype, tree_mask
from erc.llm.scoring.prefix_tree import PASS_TOKENS, PrefixReader, passes
from erc.metrics.evaluators import SingleLabelEvaluator
from erc.models.encoder.batching import length_buckets
from erc.training.llm.batches import LlmExample, collate_examples, dialogue_groups
from erc.training.loop.task import Batch
from erc.uncertainty.calibration import Temperature
from erc.uncertainty.crossfit import cross_fitted_classes

LlmLoss = Literal["tokens", "labels", "both"]
"""`tokens`: the answer's tokens, as language models are usually tuned. `labels`: the right label against the other labels of the set,
which is what scoring asks, and of answers in free words, which have no others, the tokens. `both`: the sum of
`tokens` and the labels."""


class LlmTask:
    """Fits an adapter to answers.

    `class_weights` (K,) apply to emotion examples; `label_smoothing` spreads over the closed set of an
    example; `row_tokens` packs examples into rows of that many tokens. With dev emotion examples the primary
    metric is weighted F1 of calibrated scores, else the loss.
    """

    def __init__(
        self,
        *,
        train: Sequence[LlmExample],
        dev: Sequence[LlmExample],
        labels: Sequence[str],
        pad_id: int,
        loss: LlmLoss = "tokens",
        class_weights: Tensor | None = None,
        label_smoothing: float = 0.0,
        row_tokens: int | None = None,
        max_tokens: int = 8192,
    ) -> None:
        self._train = train
        self._dev = dev
        self._labels = tuple(labels)
        self._pad_id = pad_id
        self._loss: LlmLoss = loss
        self._class_weights = class_weights
        self._smoothing = label_smoothing
        self._row_tokens = row_tokens
        self._max_tokens = max_tokens
        self._emotions = [example for example in dev if example.emotion]
        self.primary_metric = "weighted_f1" if self._emotions else "loss"
        self.greater_is_better = bool(self._emotions)

    @property
    def examples(self) -> Sequence[LlmExample]:
        return self._train

    @property
    def lengths(self) -> list[int]:
        return [example.length for example in self._train]

    @property
    def kinds(self) -> list[int]:
        """The number of each example's task, (E,)."""
        return [example.kind for example in self._train]

    def collate(self, examples: Sequence[LlmExample]) -> Batch:
        return collate_examples(examples, pad_id=self._pad_id, row_tokens=self._row_tokens)

    def loss(self, model: nn.Module, batch: Batch) -> Tensor:
        return torch.stack([mean for mean, _ in self.loss_terms(model, batch)]).sum()

    def loss_terms(self, model: nn.Module, batch: Batch) -> list[tuple[Tensor, Tensor]]:
        scores, counts = answer_scores(model, batch)
        return answer_losses(
            scores,
            counts,
            batch,
            kind=self._loss,
            class_weights=self._class_weights,
            label_smoothing=self._smoothing,
        )

    def loss_weights(self, batch: Batch) -> list[Tensor]:
        counts = answer_counts(batch)
        settings: dict[str, Any] = {
            "kind": self._loss,
            "class_weights": self._class_weights,
            "label_smoothing": self._smoothing,
        }
        return [divisor for _, divisor in answer_losses(torch.zeros_like(counts), counts, batch, **settings)]

    def evaluate(self, model: nn.Module) -> dict[str, float]:
        if not self._emotions:
            return {"loss": self._dev_loss(model)}
        scores = predict_answers(model, self._emotions).numpy()
        targets = np.array([example.target for example in self._emotions])
        return SingleLabelEvaluator(self._labels)(
            as_labelled(scores, targets, groups=dialogue_groups(self._emotions)), targets
        )

    def head_parameters(self, model: nn.Module) -> set[str]:
        return set()

    @torch.no_grad()
    def _dev_loss(self, model: nn.Module) -> float:
        if not self._dev:
            raise ValueError("no dev examples to judge the model by")
        totals: list[Tensor] = []
        for bucket in length_buckets([example.length for example in self._dev], max_tokens=self._max_tokens):
            batch = {
                name: value.to(_device(model))
                for name, value in self.collate([self._dev[i] for i in bucket]).items()
            }
            totals.append(
                torch.tensor(
                    [(float(mean * weight), float(weight)) for mean, weight in self.loss_terms(model, batch)]
                )
            )
        spent, weights = torch.stack(totals).sum(dim=0).unbind(dim=1)
        return float((spent / weights.clamp_min(1e-8)).sum())


def as_labelled(scores: np.ndarray, targets: np.ndarray, *, groups: np.ndarray) -> np.ndarray:
    """Log-probabilities (E, K) of dev scores (E, K) as labelling will see them: under a temperature and a bias per label, out of folds
    that keep whole the dialogues which `groups` (E,) numbers.

    A sum over tokens favours labels of few tokens, most of all where a model was taught by its tokens and is
    not yet sure of any. Labelling takes that off by the fitted calibrator, so a checkpoint must not be judged
    by it. With fewer than two dialogues nothing is fitted.
    """
    dialogues = len(np.unique(groups))
    if dialogues < 2:
        return scores
    fit = partial(Temperature.fit, bias=True)
    return np.log(
        np.maximum(
            cross_fitted_classes(
                scores, targets, groups=groups, folds=min(5, dialogues), calibrate=fit
            ).probabilities,
            1e-30,
        )
    )


def answer_scores(model: Any, batch: Batch) -> tuple[Tensor, Tensor]:
    """Log-likelihoods (E, K) of every candidate, minus infinity where an example has fewer, and their token counts (E, K)."""
    segments, positions = batch["segments"], batch["position_ids"]
    mask = tree_mask(segments=segments, branches=batch["branches"])
    bare = getattr(
        model, "module", model
    )  # wrapped where several processes train; the wrapper has to be called, so that gradients are shared
    argument = attention_argument(
        mask, positions, positions, config=bare.config, dtype=computing_dtype(model)
    )
    with logits_only_at(bare, batch["token_row"], batch["token_column"]):
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


@contextmanager
def logits_only_at(model: Any, rows: Tensor, columns: Tensor) -> Iterator[None]:
    """Within the block `model` makes logits (1, N, V) at N places (row, column) alone: a vocabulary is large, a prompt long, and of each row
    other columns are wanted."""

    def chosen(module: nn.Module, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        return (inputs[0][rows, columns].unsqueeze(0), *inputs[1:])

    handle = model.get_output_embeddings().register_forward_pre_hook(chosen)
    try:
        yield
    finally:
        handle.remove()


def answer_losses(
    scores: Tensor,
    counts: Tensor,
    batch: Batch,
    *,
    kind: LlmLoss,
    class_weights: Tensor | None,
    label_smoothing: float,
) -> list[tuple[Tensor, Tensor]]:
    """The mean losses of the examples, each with what it was divided by; scalars, the means in nats.

    First, per token: the smoothed mean over candidates of minus the log-likelihood, divided by the tokens; of
    all examples, under `labels` of those that have one answer. Then, but under `tokens`: the cross entropy of
    the softmax over candidates, divided by the examples that have several. Smoothing keeps 1 - s for the
    right answer and spreads s evenly over the closed set.

    Class weights are those of a weighted mean and stand in the divisor, too. The weight of a task does not:
    it says how much the task's examples count, whatever else a batch happens to hold.
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
    told = rarity * (size == 1) if kind == "labels" else rarity
    spent = -(share * scores.masked_fill(~real, 0.0)).sum(dim=1)
    sums.append(((batch["weight"] * told * spent).sum(), (told * (share * counts).sum(dim=1)).sum()))
    if kind != "tokens":
        spent = -(share * scores.log_softmax(dim=1).masked_fill(~real, 0.0)).sum(dim=1)
        closed = rarity * (size > 1)
        sums.append(((batch["weight"] * closed * spent).sum(), closed.sum()))
    return [(total / divisor.clamp_min(1e-8), divisor) for total, divisor in sums]


def predict_answers(model: Any, examples: Sequence[LlmExample], *, max_tokens: int = PASS_TOKENS) -> Tensor:
    """Log-likelihoods (E, K) float64 of examples that all have K candidates; `max_tokens` bounds the new tokens of a pass.

    What prompts begin with in common, as those of a dialogue's turns do, is read once.
    """
    prompts, answers = [example.prompt for example in examples], [example.answers for example in examples]
    scores, reader = torch.zeros(len(examples), len(answers[0]), dtype=torch.double), PrefixReader(model)
    for chosen in passes(prompts, answers, max_tokens=max_tokens):
        scores[chosen] = reader.score([prompts[i] for i in chosen], [answers[i] for i in chosen])[0]
    return scores


def prepare_for_training(
    model: Any, *, gradient_checkpointing: bool = False, neftune_alpha: float = 0.0
) -> list[Any]:
    """Switches on what costs memory or noise only in training; returns handles whose `remove()` ends the noise.

    NEFTune (Jain et al. 2024) adds uniform noise of size alpha / sqrt(T * D) to a row's embeddings, here with
    T tokens of the row. Gradient checkpointing computes activations anew in the backward pass.
    """
    if gradient_checkpointing:
        # Newer releases of transformers have another name for it and warn of the old one.
        enable = (
            getattr(model, "activation_checkpointing_enable", None) or model.gradient_checkpointing_enable
        )
        enable({"use_reentrant": False})
        model.enable_input_require_grads()
    if not neftune_alpha:
        return []

    def noise(module: nn.Module, inputs: Any, output: Tensor) -> Tensor:
        # Scoring runs in evaluation mode, or without gradients while the model is left in training mode:
        # neither is noisy.
        if not module.training or not torch.is_grad_enabled():
            return output
        size = neftune_alpha / math.sqrt(output.shape[1] * output.shape[2])
        return output + torch.empty_like(output).uniform_(-size, size)

    return [model.get_input_embeddings().register_forward_hook(noise)]


def _device(model: nn.Module) -> torch.device:
    return next(model.parameters()).device
