"""From a corpus to the examples of the utterance classifier."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from transformers import PreTrainedTokenizerBase

from erc.data.corpora import Corpus
from erc.emotions import EmotionSet
from erc.models.encoder.tokenizing import encode_texts
from erc.training.utterance_task import LabelledText


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
