"""Training a conversation model: examples are whole conversations, one class a turn, weighted F1 on dev.

History is chronological: every look-up is strictly before the turn it is for, so a second epoch sees no more
than the first, and nothing of an epoch or an evaluation is left for the next. On dev a speaker's history
begins with dev; that of the training split is added only where asked for, and then only what was broadcast
earlier.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal

import numpy as np
import torch
from torch import Tensor, nn

from erc.data.chronology import (
    InMemoryHistory,
    NoHistory,
    OtherSpeakerHistory,
    sequence_numbers,
    shuffled_speakers,
)
from erc.data.conversation import Conversation
from erc.data.corpora.corpus import chronological
from erc.data.history import HistoryProvider
from erc.metrics.evaluators import SingleLabelEvaluator
from erc.models.emonet.network import EmoNet
from erc.models.encoder.precision import resolve_precision
from erc.models.mc_modes import McMode
from erc.models.turn_batch import (
    NO_LABEL,
    PreparedTurn,
    TurnBatch,
    TurnBuilder,
    conversation_buckets,
    token_count,
)
from erc.training.emonet.features import Features, filled, observations
from erc.training.loop.losses import weighted_cross_entropy
from erc.training.loop.task import Batch
from erc.uncertainty.calibration import Calibrator, calibrate_samples
from erc.uncertainty.decomposition import categorical_decomposition

HistoryKind = Literal["off", "dialogue", "global", "shuffled_speakers", "other_speaker"]
BuilderFactory = Callable[[HistoryProvider], TurnBuilder]


def corpus_history(
    kind: HistoryKind,
    conversations: Sequence[Conversation],
    times: dict[str, float],
    features: Features | None,
    *,
    seed: int = 0,
) -> HistoryProvider:
    """The history of a corpus: none, within the dialogue, across dialogues, or one of two controls in which it is somebody else's."""
    if kind == "off":
        return NoHistory()
    turns = observations(conversations, times, features)
    if kind == "shuffled_speakers":
        return shuffled_speakers(turns, seed=seed)
    history = filled(InMemoryHistory(scope="dialogue" if kind == "dialogue" else "global"), turns)
    return OtherSpeakerHistory(history, history.speakers) if kind == "other_speaker" else history


class EmoNetTask:
    """Fits an `EmoNet` to the labelled turns of `train`; turns without a label are context only.

    `builder` makes a `TurnBuilder` over a history, with the model's labels; `train_builder` one for training
    where that is another. `features` are those of train and dev together, needed where the memory reads
    stored observations, and with `shared_encoder` also as the vectors of the turns themselves.
    `class_weights` is (C,). With `dev_sees_train` a dev look-up finds the training conversations that are
    earlier in the corpus's chronology.
    """

    primary_metric = "weighted_f1"
    greater_is_better = True

    def __init__(
        self,
        *,
        train: Sequence[Conversation],
        dev: Sequence[Conversation],
        builder: BuilderFactory,
        train_builder: BuilderFactory | None = None,
        features: Features | None = None,
        shared_encoder: bool = False,
        history: HistoryKind = "global",
        dev_sees_train: bool = False,
        class_weights: Tensor | None = None,
        label_smoothing: float = 0.0,
        precision: str = "auto",
        batch_tokens: int = 4_096,
        seed: int = 0,
    ) -> None:
        times = sequence_numbers(chronological((*train, *dev)))
        seen_on_dev = (*train, *dev) if dev_sees_train else dev
        self._train_builder = (train_builder or builder)(
            corpus_history(history, train, times, features, seed=seed)
        )
        self._dev_builder = builder(corpus_history(history, seen_on_dev, times, features, seed=seed))

        def prepared(builder: TurnBuilder, talk: Conversation) -> list[PreparedTurn]:
            vectors = features.vectors(talk) if shared_encoder and features is not None else None
            return builder.prepare(talk, time=times[talk.conversation_id], vectors=vectors)

        self._train = [prepared(self._train_builder, talk) for talk in train]
        self._dev = [prepared(self._dev_builder, talk) for talk in dev]
        self._weights = class_weights
        self._label_smoothing = label_smoothing
        self._precision = precision
        self._batch_tokens = batch_tokens

    @property
    def dev(self) -> Sequence[Sequence[PreparedTurn]]:
        """The dev conversations, made ready."""
        return self._dev

    @property
    def dev_builder(self) -> TurnBuilder:
        """What makes batches of them, over their history."""
        return self._dev_builder

    @property
    def examples(self) -> Sequence[Sequence[PreparedTurn]]:
        return self._train

    @property
    def lengths(self) -> list[int]:
        return [token_count(turns) for turns in self._train]

    def collate(self, examples: Sequence[Sequence[PreparedTurn]]) -> Batch:
        return self._train_builder.collate(examples).tensors()

    def loss(self, model: nn.Module, batch: Batch) -> Tensor:
        turns = TurnBatch(**batch)
        assert turns.labels is not None
        logits = model(batch=turns).logits
        weights = None if self._weights is None else self._weights.to(logits.device)
        return weighted_cross_entropy(logits, turns.labels, weights, label_smoothing=self._label_smoothing)

    def loss_terms(self, model: nn.Module, batch: Batch) -> list[tuple[Tensor, Tensor]]:
        return list(zip([self.loss(model, batch)], self.loss_weights(batch), strict=True))

    def loss_weights(self, batch: Batch) -> list[Tensor]:
        """The labelled turns, by the weights of their classes: what the cross entropy is divided by."""
        labels = batch["labels"][batch["labels"] != NO_LABEL]
        return [
            torch.tensor(float(len(labels)), device=labels.device)
            if self._weights is None
            else self._weights.to(labels.device)[labels].sum()
        ]

    def evaluate(self, model: nn.Module) -> dict[str, float]:
        assert isinstance(model, EmoNet)
        logits = predict_turns(
            model, self._dev_builder, self._dev, max_tokens=self._batch_tokens, precision=self._precision
        )
        labels = np.array([turn.label for turns in self._dev for turn in turns])
        return turn_figures(np.concatenate(logits), labels)

    def head_parameters(self, model: nn.Module) -> set[str]:
        encoders = ("context.encoder.", "memory.encoder.")
        return {name for name, _ in model.named_parameters() if not name.startswith(encoders)}


@torch.no_grad()
def predict_turns(
    model: EmoNet,
    builder: TurnBuilder,
    prepared: Sequence[Sequence[PreparedTurn]],
    *,
    max_tokens: int = 4_096,
    precision: str = "auto",
) -> list[np.ndarray]:
    """Deterministic logits (L, C) float32 of every turn of each conversation, in their order. The model is in evaluation mode."""
    device = next(model.parameters()).device
    logits: list[np.ndarray] = [np.empty(0, dtype=np.float32)] * len(prepared)
    for bucket in conversation_buckets(prepared, max_tokens=max_tokens):
        batch = builder.collate([prepared[i] for i in bucket]).to(device)
        with torch.autocast(
            device.type, dtype=torch.bfloat16, enabled=resolve_precision(precision) == "bf16"
        ):
            rows = model(batch=batch).logits.float().cpu().numpy()
        ends = np.cumsum([len(prepared[i]) for i in bucket])
        for number, part in zip(bucket, np.split(rows, ends[:-1]), strict=True):
            logits[number] = part
    return logits


@torch.inference_mode()
def sampled_turn_entropy(
    model: EmoNet,
    builder: TurnBuilder,
    prepared: Sequence[Sequence[PreparedTurn]],
    calibrator: Calibrator,
    *,
    samples: int,
    mode: McMode,
    top_k: int = 1,
    max_tokens: int = 4_096,
    precision: str = "auto",
) -> np.ndarray:
    """Total predictive entropy (U,) in nats of every turn, from `samples` joint draws of the network."""
    device = next(model.parameters()).device
    ends = np.cumsum([0, *(len(turns) for turns in prepared)])
    total = np.empty(ends[-1])
    for bucket in conversation_buckets(prepared, max_tokens=max_tokens):
        batch = builder.collate([prepared[i] for i in bucket]).to(device)
        with torch.autocast(
            device.type, dtype=torch.bfloat16, enabled=resolve_precision(precision) == "bf16"
        ):
            logits = model.mc_forward(batch, samples, mode=mode, top_k=top_k).float().cpu().numpy()
        rows = np.concatenate([np.arange(ends[i], ends[i + 1]) for i in bucket])
        total[rows] = categorical_decomposition(calibrate_samples(calibrator, logits)).total
    return total


def turn_figures(logits: np.ndarray, labels: np.ndarray) -> dict[str, float]:
    """Weighted F1, macro F1 and accuracy over the labelled turns, and the mean negative log-likelihood: logits (U, C), labels (U,)."""
    logits, labels = logits[labels != NO_LABEL], labels[labels != NO_LABEL]
    if not len(labels):
        raise ValueError("the dev split has no labelled turn")
    names = tuple(map(str, range(logits.shape[1])))
    figures = SingleLabelEvaluator(names)(logits, labels)
    return {"nll" if name == "loss" else name: value for name, value in figures.items()}
