"""Training the shared utterance classifier: many labels per text, weighted binary cross entropy, macro F1 on dev."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from sklearn.metrics import f1_score
from torch import Tensor, nn
from transformers import PreTrainedTokenizerBase

from erc.data.corpora import Corpus
from erc.emotions import EmotionSet
from erc.models.encoder.batching import length_buckets, pad_tokens
from erc.models.encoder.precision import resolve_precision
from erc.models.encoder.tokenizing import encode_texts
from erc.models.utterance import UtteranceClassifier
from erc.training.loop.losses import weighted_bce
from erc.training.loop.task import Batch


@dataclass(frozen=True, slots=True)
class LabelledText:
    """Token ids of a text, its multi-hot labels (C,) float32, and where teachers are used their mean probabilities (C,) float32."""

    input_ids: tuple[int, ...]
    targets: np.ndarray
    soft: np.ndarray | None = None


class UtteranceTask:
    """Fits an `UtteranceClassifier`; `positive_weights` (C,) weigh each label's positives.

    With teachers the loss is (1 - a) weighted BCE against the labels + a BCE against the teachers' mean
    probabilities, a being `soft_share` (Hinton et al. 2015, for independent sigmoids). The teachers were
    trained with the weights, so their part has none.
    """

    primary_metric = "macro_f1"
    greater_is_better = True

    def __init__(
        self,
        *,
        train: Sequence[LabelledText],
        dev: Sequence[LabelledText],
        pad_id: int,
        positive_weights: Tensor | None,
        precision: str = "auto",
        soft_share: float = 0.0,
    ) -> None:
        self._train = train
        self._dev = dev
        self._pad_id = pad_id
        self._weights = positive_weights
        self._precision = precision
        self._soft_share = soft_share

    @property
    def examples(self) -> Sequence[LabelledText]:
        return self._train

    @property
    def lengths(self) -> list[int]:
        return [len(example.input_ids) for example in self._train]

    def collate(self, examples: Sequence[LabelledText]) -> Batch:
        input_ids, attention_mask = pad_tokens([e.input_ids for e in examples], pad_id=self._pad_id)
        targets = torch.from_numpy(np.stack([e.targets for e in examples]))
        batch = {"input_ids": input_ids, "attention_mask": attention_mask, "targets": targets}
        if self._soft_share > 0.0:
            batch["soft"] = torch.from_numpy(np.stack([e.soft for e in examples if e.soft is not None]))
        return batch

    def loss(self, model: nn.Module, batch: Batch) -> Tensor:
        output = model(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"])
        weights = None if self._weights is None else self._weights.to(output.logits.device)
        hard = weighted_bce(output.logits, batch["targets"], weights)
        if "soft" not in batch:
            return hard
        return (1.0 - self._soft_share) * hard + self._soft_share * weighted_bce(
            output.logits, batch["soft"], None
        )

    def loss_terms(self, model: nn.Module, batch: Batch) -> list[tuple[Tensor, Tensor]]:
        return list(zip([self.loss(model, batch)], self.loss_weights(batch), strict=True))

    def loss_weights(self, batch: Batch) -> list[Tensor]:
        """The texts: every one weighs alike."""
        return [torch.tensor(float(len(batch["targets"])), device=batch["targets"].device)]

    def evaluate(self, model: nn.Module) -> dict[str, float]:
        assert isinstance(model, UtteranceClassifier)
        logits = predict_logits(
            model, [e.input_ids for e in self._dev], pad_id=self._pad_id, precision=self._precision
        )
        targets = np.stack([e.targets for e in self._dev])
        return dev_figures(logits, targets)

    def head_parameters(self, model: nn.Module) -> set[str]:
        return {name for name, _ in model.named_parameters() if name.startswith("head.")}


@torch.no_grad()
def predict_logits(
    model: UtteranceClassifier,
    texts: Sequence[tuple[int, ...]],
    *,
    pad_id: int,
    precision: str = "auto",
    max_tokens: int = 8192,
) -> np.ndarray:
    """Deterministic logits (N, C) float32 of tokenised texts, in their order."""
    device = next(model.parameters()).device
    logits: np.ndarray | None = None
    for bucket in length_buckets([len(t) for t in texts], max_tokens=max_tokens):
        input_ids, mask = pad_tokens([texts[i] for i in bucket], pad_id=pad_id)
        with torch.autocast(
            device.type, dtype=torch.bfloat16, enabled=resolve_precision(precision) == "bf16"
        ):
            output = model(input_ids=input_ids.to(device), attention_mask=mask.to(device))
        part = output.logits.float().cpu().numpy()
        if logits is None:
            logits = np.empty((len(texts), part.shape[1]), dtype=np.float32)
        logits[bucket] = part
    if logits is None:
        raise ValueError("no texts to predict")
    return logits


def dev_figures(logits: np.ndarray, targets: np.ndarray) -> dict[str, float]:
    """Macro F1 with each label's best threshold on this split, beside macro and micro F1 at 0.5.

    The first one selects checkpoints, because thresholds are tuned on dev in the end; it is optimistic as an
    estimate, and the reported figures are cross-fitted instead.
    """
    grid = np.linspace(-3.0, 4.0, 57)  # logits
    best = np.zeros(targets.shape[1])
    for cut in grid:
        predicted = logits > cut
        hit = (predicted & (targets > 0.5)).sum(axis=0)
        denominator = predicted.sum(axis=0) + targets.sum(axis=0)
        best = np.maximum(best, np.where(denominator > 0, 2 * hit / np.maximum(denominator, 1), 0.0))
    at_half = logits > 0
    return {
        "macro_f1": float(best.mean()),
        "macro_f1_at_half": float(f1_score(targets, at_half, average="macro", zero_division=0)),
        "micro_f1_at_half": float(f1_score(targets, at_half, average="micro", zero_division=0)),
    }


def multi_hot(labels: Iterable[tuple[str, ...]], emotions: EmotionSet) -> np.ndarray:
    """Multi-hot targets (N, C) float32 of the gold labels of N texts."""
    rows = list(labels)
    targets = np.zeros((len(rows), len(emotions)), dtype=np.float32)
    for row, names in enumerate(rows):
        targets[row, [emotions.index(name) for name in names]] = 1.0
    return targets


def corpus_texts(corpus: Corpus) -> list[str]:
    """Every utterance of a corpus in order."""
    return [utterance.text for conversation in corpus.conversations for utterance in conversation]


def corpus_targets(corpus: Corpus, emotions: EmotionSet) -> np.ndarray:
    """Multi-hot gold labels (N, C) of every utterance of a corpus in order."""
    return multi_hot(
        (utterance.emotions for conversation in corpus.conversations for utterance in conversation), emotions
    )


def labelled_texts(
    corpus: Corpus, emotions: EmotionSet, tokenizer: PreTrainedTokenizerBase, *, max_tokens: int
) -> list[LabelledText]:
    """Tokenised examples of a corpus in order."""
    tokens = encode_texts(tokenizer, corpus_texts(corpus), max_tokens=max_tokens)[0]
    return [
        LabelledText(input_ids=ids, targets=row)
        for ids, row in zip(tokens, corpus_targets(corpus, emotions), strict=True)
    ]
