"""The Trainer's task for a causal language model: batches, loss and evaluation.

Shapes: E examples, K candidate answers.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from erc.metrics.evaluators import SingleLabelEvaluator
from erc.models.encoder.batching import length_buckets
from erc.training.llm.answers import (
    LlmLoss,
    answer_counts,
    answer_losses,
    answer_scores,
    predict_answers,
)
from erc.training.llm.batches import LlmExample, collate_examples, dialogue_groups
from erc.training.loop.task import Batch
from erc.uncertainty.calibration import Temperature
from erc.uncertainty.crossfit import cross_fitted_classes


class LlmTask:
    """Fits an adapter to answers.

    The primary metric is weighted F1 of calibrated scores if dev has emotion examples, else the loss.

    Args:
        train: Training examples.
        dev: Dev examples.
        labels: The label set.
        pad_id: Id of the padding token.
        loss: Which losses are summed.
        class_weights: (K,), for emotion examples.
        label_smoothing: Probability spread over an example's closed set.
        row_tokens: Tokens of a packed row; None gives each example its own.
        neftune: Alpha of the embedding noise; 0 adds none.
        max_tokens: Tokens of a dev batch.
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
        neftune: float = 0.0,
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
        self._neftune = neftune
        self._max_tokens = max_tokens
        self._emotions = [example for example in dev if example.emotion]
        self.primary_metric = "weighted_f1" if self._emotions else "loss"
        self.greater_is_better = bool(self._emotions)

    @property
    def examples(self) -> Sequence[LlmExample]:
        """The training examples, (E,)."""
        return self._train

    @property
    def lengths(self) -> list[int]:
        """Tokens of each training example, (E,)."""
        return [example.length for example in self._train]

    @property
    def kinds(self) -> list[int]:
        """The number of each example's task, (E,)."""
        return [example.kind for example in self._train]

    def collate(self, examples: Sequence[LlmExample]) -> Batch:
        """The tensors of a batch."""
        return collate_examples(examples, pad_id=self._pad_id, row_tokens=self._row_tokens)

    def loss(self, model: nn.Module, batch: Batch) -> Tensor:
        """The loss of a batch, a scalar."""
        return torch.stack([mean for mean, _ in self.loss_terms(model, batch)]).sum()

    def loss_terms(self, model: nn.Module, batch: Batch) -> list[tuple[Tensor, Tensor]]:
        """The mean losses of a batch, each with its divisor."""
        scores, counts = answer_scores(model, batch, neftune=self._neftune)
        return answer_losses(
            scores,
            counts,
            batch,
            kind=self._loss,
            class_weights=self._class_weights,
            label_smoothing=self._smoothing,
        )

    def loss_weights(self, batch: Batch) -> list[Tensor]:
        """The divisors of `loss_terms`, without running the model."""
        counts = answer_counts(batch)
        settings: dict[str, Any] = {
            "kind": self._loss,
            "class_weights": self._class_weights,
            "label_smoothing": self._smoothing,
        }
        return [divisor for _, divisor in answer_losses(torch.zeros_like(counts), counts, batch, **settings)]

    def evaluate(self, model: nn.Module) -> dict[str, float]:
        """Dev figures: those of calibrated emotion scores, or the loss.

        Raises:
            ValueError: If there are no dev examples.
        """
        if not self._emotions:
            return {"loss": self._dev_loss(model)}
        scores = predict_answers(model, self._emotions).numpy()
        targets = np.array([example.target for example in self._emotions])
        return SingleLabelEvaluator(self._labels)(
            as_labelled(scores, targets, groups=dialogue_groups(self._emotions)), targets
        )

    def head_parameters(self, model: nn.Module) -> set[str]:
        """An empty set, because a language model has no head."""
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
    """Log-probabilities (E, K) of dev scores (E, K), calibrated as in labelling.

    A sum over tokens favours short labels, most of all in a model that is trained on tokens and still
    uncertain. The calibrator removes this bias in labelling, so it must not affect the choice of a
    checkpoint. A temperature and a bias per label are fitted on the other folds. All examples of a dialogue,
    numbered by `groups` (E,), are in the same fold. With fewer than two dialogues nothing is fitted.
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


def _device(model: nn.Module) -> torch.device:
    return next(model.parameters()).device
