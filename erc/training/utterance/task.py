"""The training task of the utterance classifier: several labels per text, weighted binary cross entropy.

Shapes: N texts, C emotions.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from transformers import PreTrainedTokenizerBase

from erc.data.corpora import Corpus
from erc.emotions import EmotionSet
from erc.metrics.evaluators import MultiLabelEvaluator
from erc.models.encoder.batching import pad_tokens
from erc.models.encoder.tokenizing import encode_texts
from erc.models.utterance import UtteranceClassifier
from erc.models.utterance_batches import encode_utterances
from erc.training.loop.losses import weighted_bce
from erc.training.loop.task import Batch


@dataclass(frozen=True, slots=True)
class LabelledText:
    """A training example.

    `input_ids` are its tokens, `targets` (C,) float32 its multi-hot labels. `soft` (C,) float32 are the mean
    probabilities of teachers, None without teachers.
    """

    input_ids: tuple[int, ...]
    targets: np.ndarray
    soft: np.ndarray | None = None


class UtteranceTask:
    """Trains an `UtteranceClassifier`; `positive_weights` (C,) weigh the positives of each label.

    With teachers the loss is (1 - a) * weighted BCE against the labels + a * BCE against the teachers' mean
    probabilities, where a is `soft_share` (Hinton et al. 2015, for independent sigmoids). The second term is
    not weighted, because the teachers were trained with the weights.

    The best checkpoint is the one with the highest macro F1 on dev at cross-fitted thresholds; see
    `MultiLabelEvaluator`. Thresholds fitted on all of dev would overfit its noise.
    """

    primary_metric = MultiLabelEvaluator.primary_metric
    greater_is_better = MultiLabelEvaluator.greater_is_better

    def __init__(
        self,
        *,
        train: Sequence[LabelledText],
        dev: Sequence[LabelledText],
        labels: Sequence[str],
        pad_id: int,
        positive_weights: Tensor | None,
        precision: str = "auto",
        soft_share: float = 0.0,
    ) -> None:
        self._train = train
        self._dev = dev
        self._labels = tuple(labels)
        self._pad_id = pad_id
        self._weights = positive_weights
        self._precision = precision
        self._soft_share = soft_share

    @property
    def examples(self) -> Sequence[LabelledText]:
        """The training examples."""
        return self._train

    @property
    def lengths(self) -> list[int]:
        """Tokens of each training example."""
        return [len(example.input_ids) for example in self._train]

    def collate(self, examples: Sequence[LabelledText]) -> Batch:
        """Pads examples into tensors."""
        input_ids, attention_mask = pad_tokens([e.input_ids for e in examples], pad_id=self._pad_id)
        targets = torch.from_numpy(np.stack([e.targets for e in examples]))
        batch = {"input_ids": input_ids, "attention_mask": attention_mask, "targets": targets}
        if self._soft_share > 0.0:
            batch["soft"] = torch.from_numpy(np.stack([e.soft for e in examples if e.soft is not None]))
        return batch

    def loss(self, model: nn.Module, batch: Batch) -> Tensor:
        """The loss of a batch, a scalar."""
        output = model(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"])
        weights = None if self._weights is None else self._weights.to(output.logits.device)
        hard = weighted_bce(output.logits, batch["targets"], weights)
        if "soft" not in batch:
            return hard
        return (1.0 - self._soft_share) * hard + self._soft_share * weighted_bce(
            output.logits, batch["soft"], None
        )

    def loss_terms(self, model: nn.Module, batch: Batch) -> list[tuple[Tensor, Tensor]]:
        """The loss as one mean over texts, with its divisor."""
        return list(zip([self.loss(model, batch)], self.loss_weights(batch), strict=True))

    def loss_weights(self, batch: Batch) -> list[Tensor]:
        """The number of texts, which all have the same weight."""
        return [torch.tensor(float(len(batch["targets"])), device=batch["targets"].device)]

    def evaluate(self, model: nn.Module) -> dict[str, float]:
        """The dev figures of `MultiLabelEvaluator`."""
        assert isinstance(model, UtteranceClassifier)
        logits = predict_logits(
            model, [e.input_ids for e in self._dev], pad_id=self._pad_id, precision=self._precision
        )
        return MultiLabelEvaluator(self._labels)(logits, np.stack([e.targets for e in self._dev]))

    def head_parameters(self, model: nn.Module) -> set[str]:
        """Names of the head's parameters."""
        return {name for name, _ in model.named_parameters() if name.startswith("head.")}


def predict_logits(
    model: UtteranceClassifier,
    texts: Sequence[Sequence[int]],
    *,
    pad_id: int,
    precision: str = "auto",
    max_tokens: int = 8192,
) -> np.ndarray:
    """Logits (N, C) float32 of N tokenised texts in input order, without dropout.

    Raises:
        ConfigError: For an unknown precision.
        ValueError: Without texts.
    """
    if not texts:
        raise ValueError("no texts to predict")
    return encode_utterances(model, texts, pad_id=pad_id, batch_tokens=max_tokens, precision=precision).logits


def pad_id(tokenizer: PreTrainedTokenizerBase) -> int:
    """The padding id, 0 for a tokenizer without one."""
    return int(tokenizer.pad_token_id or 0)


def multi_hot(labels: Iterable[tuple[str, ...]], emotions: EmotionSet) -> np.ndarray:
    """Multi-hot targets (N, C) float32 of the gold labels of N texts.

    Raises:
        InputError: For a label that is not in `emotions`.
    """
    rows = list(labels)
    targets = np.zeros((len(rows), len(emotions)), dtype=np.float32)
    for row, names in enumerate(rows):
        targets[row, [emotions.index(name) for name in names]] = 1.0
    return targets


def corpus_texts(corpus: Corpus) -> list[str]:
    """The texts of all utterances of a corpus, in order."""
    return [utterance.text for conversation in corpus.conversations for utterance in conversation]


def corpus_targets(corpus: Corpus, emotions: EmotionSet) -> np.ndarray:
    """Multi-hot gold labels (N, C) of all utterances of a corpus, in order."""
    return multi_hot(
        (utterance.emotions for conversation in corpus.conversations for utterance in conversation), emotions
    )


def labelled_texts(
    corpus: Corpus, emotions: EmotionSet, tokenizer: PreTrainedTokenizerBase, *, max_tokens: int
) -> list[LabelledText]:
    """Tokenised examples of a corpus, in order."""
    tokens = encode_texts(tokenizer, corpus_texts(corpus), max_tokens=max_tokens)[0]
    return [
        LabelledText(input_ids=ids, targets=row)
        for ids, row in zip(tokens, corpus_targets(corpus, emotions), strict=True)
    ]
