"""Training a conversation model: whole conversations with one class a turn, evaluated by weighted F1.

History is chronological: a look-up for a turn returns only earlier turns. So every epoch uses the same
histories, and no evaluation changes them. On dev a speaker's history holds dev turns only; earlier turns of
the training split are added with `dev_sees_train`.

Shapes: U turns, L turns of a conversation, C emotions, P width of a turn's vector.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

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
from erc.models.emonet.reads import HistoryKind
from erc.models.encoder.precision import resolve_precision
from erc.models.mc_modes import McMode
from erc.models.turn_batch import (
    NO_LABEL,
    PreparedTurn,
    TurnBatch,
    conversation_buckets,
    token_count,
)
from erc.models.turn_builder import TurnBuilder
from erc.training.emonet.features import Features, observations
from erc.training.loop.losses import weighted_cross_entropy
from erc.training.loop.task import Batch
from erc.uncertainty.calibration import Calibrator, calibrate_samples
from erc.uncertainty.decomposition import categorical_decomposition

BuilderFactory = Callable[[HistoryProvider], TurnBuilder]


def corpus_history(
    kind: HistoryKind,
    conversations: Sequence[Conversation],
    times: dict[str, float],
    features: Features | None,
    *,
    seed: int = 0,
) -> HistoryProvider:
    """The history of a corpus; `shuffled_speakers` and `other_speaker` are controls with a wrong owner.

    Args:
        kind: Whose turns a look-up returns.
        conversations: The conversations in the history.
        times: The place of each conversation in the order of conversations, by id.
        features: The shared classifier's features of the turns; None for texts alone.
        seed: For `shuffled_speakers`.
    """
    if kind == "off":
        return NoHistory()
    turns = observations(conversations, times, features)
    if kind == "shuffled_speakers":
        return shuffled_speakers(turns, seed=seed)
    history = InMemoryHistory(turns, scope="dialogue" if kind == "dialogue" else "global")
    return OtherSpeakerHistory(history, history.speakers) if kind == "other_speaker" else history


class EmoNetTask:
    """Fits an `EmoNet` to the labelled turns of `train`; turns without a label are context only.

    Args:
        train: Training conversations.
        dev: Dev conversations.
        builder: Makes a `TurnBuilder` over a history, with the model's labels.
        train_builder: The same for training, if it differs.
        features: The shared classifier's features of train and dev, if the model reads them.
        history_features: Features that histories hold instead of `features`: those of a classifier that was
            not trained on these turns.
        shared_encoder: Whether `features` are also the vectors of the turns themselves.
        history: Whose turns histories hold.
        dev_sees_train: Whether a dev history holds training conversations that are earlier in the corpus.
        class_weights: Weight of each class in the loss, (C,).
        label_smoothing: Of the loss.
        precision: Of dev evaluations.
        batch_tokens: Tokens of a dev batch.
        seed: For the control `shuffled_speakers`.
    """

    primary_metric = SingleLabelEvaluator.primary_metric
    greater_is_better = SingleLabelEvaluator.greater_is_better

    def __init__(
        self,
        *,
        train: Sequence[Conversation],
        dev: Sequence[Conversation],
        builder: BuilderFactory,
        train_builder: BuilderFactory | None = None,
        features: Features | None = None,
        history_features: Features | None = None,
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
        remembered = features if history_features is None else history_features

        def over(make: BuilderFactory, conversations: Sequence[Conversation]) -> TurnBuilder:
            return make(corpus_history(history, conversations, times, remembered, seed=seed))

        def prepared(builder: TurnBuilder, conversation: Conversation) -> list[PreparedTurn]:
            vectors = features.vectors(conversation) if shared_encoder and features is not None else None
            return builder.prepare(conversation, time=times[conversation.conversation_id], vectors=vectors)

        self._train_builder = over(train_builder or builder, train)
        self._dev_builder = over(builder, (*train, *dev) if dev_sees_train else dev)
        self._train = [prepared(self._train_builder, conversation) for conversation in train]
        self._dev = [prepared(self._dev_builder, conversation) for conversation in dev]
        self._evaluator = SingleLabelEvaluator(labels=tuple(self._dev_builder.labels))
        self._weights = class_weights
        self._label_smoothing = label_smoothing
        self._precision = precision
        self._batch_tokens = batch_tokens

    @property
    def dev(self) -> Sequence[Sequence[PreparedTurn]]:
        """The prepared dev conversations."""
        return self._dev

    @property
    def dev_builder(self) -> TurnBuilder:
        """The builder of dev batches, over the dev history."""
        return self._dev_builder

    @property
    def examples(self) -> Sequence[Sequence[PreparedTurn]]:
        """The prepared training conversations."""
        return self._train

    @property
    def lengths(self) -> list[int]:
        """Tokens of each training conversation."""
        return [token_count(turns) for turns in self._train]

    def collate(self, examples: Sequence[Sequence[PreparedTurn]]) -> Batch:
        """A batch of training conversations."""
        return self._train_builder.collate(examples).tensors()

    def loss(self, model: nn.Module, batch: Batch) -> Tensor:
        """Weighted cross entropy of the labelled turns."""
        turns = TurnBatch(**batch)
        assert turns.labels is not None
        logits = model(batch=turns).logits
        weights = None if self._weights is None else self._weights.to(logits.device)
        return weighted_cross_entropy(logits, turns.labels, weights, label_smoothing=self._label_smoothing)

    def loss_terms(self, model: nn.Module, batch: Batch) -> list[tuple[Tensor, Tensor]]:
        """The loss and its divisor."""
        return list(zip([self.loss(model, batch)], self.loss_weights(batch), strict=True))

    def loss_weights(self, batch: Batch) -> list[Tensor]:
        """The divisor of the cross entropy: the sum of the class weights of the labelled turns."""
        labels = batch["labels"][batch["labels"] != NO_LABEL]
        return [
            torch.tensor(float(len(labels)), device=labels.device)
            if self._weights is None
            else self._weights.to(labels.device)[labels].sum()
        ]

    def evaluate(self, model: nn.Module) -> dict[str, float]:
        """Figures of the labelled dev turns, as `SingleLabelEvaluator` names them.

        Raises:
            ValueError: If no dev turn has a label.
        """
        assert isinstance(model, EmoNet)
        logits = predict_turns(
            model, self._dev_builder, self._dev, max_tokens=self._batch_tokens, precision=self._precision
        )
        return self._evaluator(*labelled(np.concatenate(logits), self._dev))

    def head_parameters(self, model: nn.Module) -> set[str]:
        """Names of all parameters outside the encoders."""
        encoders = ("context.encoder.", "memory.encoder.")
        return {name for name, _ in model.named_parameters() if not name.startswith(encoders)}


def gold_classes(prepared: Sequence[Sequence[PreparedTurn]]) -> np.ndarray:
    """The gold class (U,) of every turn, `NO_LABEL` for a turn without one."""
    return np.array([turn.label for turns in prepared for turn in turns])


def labelled(logits: np.ndarray, prepared: Sequence[Sequence[PreparedTurn]]) -> tuple[np.ndarray, np.ndarray]:
    """The logits and gold classes of the turns that have a label; `logits` (U, C) are those of all turns.

    Raises:
        ValueError: If no turn has a label.
    """
    labels = gold_classes(prepared)
    keep = labels != NO_LABEL
    if not keep.any():
        raise ValueError("the dev split has no labelled turn")
    return logits[keep], labels[keep]


@torch.no_grad()
def predict_turns(
    model: EmoNet,
    builder: TurnBuilder,
    prepared: Sequence[Sequence[PreparedTurn]],
    *,
    max_tokens: int = 4_096,
    precision: str = "auto",
) -> list[np.ndarray]:
    """Logits (L, C) float32 of each conversation's turns; the model must be in evaluation mode."""
    logits: list[np.ndarray] = [np.empty(0, dtype=np.float32)] * len(prepared)
    for bucket, batch in _batches(model, builder, prepared, max_tokens=max_tokens):
        with _autocast(model, precision):
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
    """Total predictive entropy (U,) in nats of every turn, from `samples` joint samples of the network.

    Raises:
        NoDropoutError: If the model has no dropout that `mode` samples.
    """
    ends = np.cumsum([0, *(len(turns) for turns in prepared)])
    total = np.empty(ends[-1])
    for bucket, batch in _batches(model, builder, prepared, max_tokens=max_tokens):
        with _autocast(model, precision):
            logits = model.mc_forward(batch, samples, mode=mode, top_k=top_k).float().cpu().numpy()
        rows = np.concatenate([np.arange(ends[i], ends[i + 1]) for i in bucket])
        total[rows] = categorical_decomposition(calibrate_samples(calibrator, logits)).total
    return total


def _batches(
    model: EmoNet, builder: TurnBuilder, prepared: Sequence[Sequence[PreparedTurn]], *, max_tokens: int
) -> Iterator[tuple[list[int], TurnBatch]]:
    """Batches on the model's device, each with the indices of its conversations."""
    device = next(model.parameters()).device
    for bucket in conversation_buckets(prepared, max_tokens=max_tokens):
        yield bucket, builder.collate([prepared[i] for i in bucket]).to(device)


def _autocast(model: EmoNet, precision: str) -> torch.autocast:
    device = next(model.parameters()).device.type
    return torch.autocast(device, dtype=torch.bfloat16, enabled=resolve_precision(precision) == "bf16")
