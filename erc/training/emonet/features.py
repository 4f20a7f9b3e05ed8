"""Features of a corpus by the shared utterance classifier, computed once and cached on disk.

The shipped classifier was trained on another corpus (GoEmotions), so its features are as good on train as on
dev. A classifier that was trained on the training turns is more confident on them than on new ones. Histories
must then hold the features of another classifier (`Features.replaced_by`).

Shapes: N utterances, P width of the embedding, C labels.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from scipy.special import expit
from torch import nn
from transformers import PreTrainedTokenizerBase

from erc.data.chronology import observed_turns
from erc.data.conversation import Conversation
from erc.data.history import PastUtterance
from erc.data.identity import key_of
from erc.errors import InputError
from erc.files import read_arrays, save_arrays
from erc.models.encoder.precision import resolve_precision
from erc.models.encoder.tokenizing import encode_texts
from erc.models.utterance import UtteranceClassifier
from erc.models.utterance_batches import encode_utterances
from erc.uncertainty.calibration import Calibrator

_FORMAT = 1


@dataclass(frozen=True, slots=True)
class Features:
    """Features of utterances.

    Attributes:
        embeddings: (N, P) float16.
        probabilities: (N, C) float32.
        rows: The row of an utterance, by (conversation id, index).
    """

    embeddings: np.ndarray
    probabilities: np.ndarray
    rows: Mapping[tuple[str, int], int]

    def vectors(self, conversation: Conversation) -> np.ndarray:
        """Embeddings (L, P) of a conversation's utterances."""
        return self.embeddings[
            [self.rows[conversation.conversation_id, utterance.index] for utterance in conversation]
        ]

    def replaced_by(self, other: Features) -> Features:
        """These features, with those of `other` for the utterances that it has.

        Raises:
            ValueError: If `other` has other widths.
        """
        places = [(self.rows[place], row) for place, row in other.rows.items() if place in self.rows]
        own, others = (list(column) for column in zip(*places, strict=True)) if places else ([], [])
        embeddings, probabilities = self.embeddings.copy(), self.probabilities.copy()
        for mine, theirs in ((embeddings, other.embeddings), (probabilities, other.probabilities)):
            if mine.shape[1] != theirs.shape[1]:
                raise ValueError(f"features are {mine.shape[1]} and {theirs.shape[1]} wide")
            mine[own] = theirs[others]
        return Features(embeddings=embeddings, probabilities=probabilities, rows=self.rows)


def corpus_features(
    classifier: UtteranceClassifier,
    tokenizer: PreTrainedTokenizerBase,
    conversations: Sequence[Conversation],
    *,
    cache_dir: Path | None,
    checksums: Iterable[str] = (),
    calibrator: Calibrator | None = None,
    max_tokens: int = 96,
    precision: str = "auto",
    batch_tokens: int = 8_192,
) -> Features:
    """Features of every utterance, read from `cache_dir` if they were computed before.

    The file's name is a digest of the texts, the corpus files' `checksums`, the classifier's weights, the
    calibrator, the precision and `max_tokens`. A file whose contents do not fit is computed again.

    Args:
        classifier: The shared classifier.
        tokenizer: Its tokenizer.
        conversations: The conversations.
        cache_dir: Folder of the files; None keeps none.
        checksums: SHA-256 of the corpus files.
        calibrator: Turns logits into probabilities; None for sigmoids.
        max_tokens: Tokens that are read of an utterance.
        precision: Of the pass.
        batch_tokens: Tokens of a pass.

    Raises:
        InputError: If two conversations have the same id.
    """
    texts = [utterance.text for conversation in conversations for utterance in conversation]
    places = [
        (conversation.conversation_id, utterance.index)
        for conversation in conversations
        for utterance in conversation
    ]
    rows = {place: row for row, place in enumerate(places)}
    if len(rows) < len(places):
        twice = next(place for place, count in Counter(places).items() if count > 1)[0]
        raise InputError(
            f"two conversations have the id {twice}, so their utterances cannot be distinguished: "
            "give each conversation its own id"
        )
    kind = resolve_precision(precision)
    calibration = "" if calibrator is None else json.dumps(calibrator.to_dict())
    turns = [f"{place} {text}" for place, text in zip(places, texts, strict=True)]
    digest = _digest(
        [
            "features",
            str(_FORMAT),
            kind,
            str(max_tokens),
            *sorted(checksums),
            module_digest(classifier),
            calibration,
            *turns,
        ]
    )
    path = None if cache_dir is None else cache_dir / f"features-{digest}.safetensors"
    if path is not None:
        found = read_arrays(path)
        if set(found) == {"embeddings", "probabilities"} and len(found["embeddings"]) == len(
            found["probabilities"]
        ) == len(texts):
            return Features(embeddings=found["embeddings"], probabilities=found["probabilities"], rows=rows)
    tokens = encode_texts(tokenizer, texts, max_tokens=max_tokens)[0]
    outputs = encode_utterances(
        classifier, tokens, pad_id=int(tokenizer.pad_token_id or 0), precision=kind, batch_tokens=batch_tokens
    )
    embeddings, logits = outputs.embedding.astype(np.float16), outputs.logits
    probabilities = (expit(logits) if calibrator is None else calibrator(logits)).astype(np.float32)
    if path is not None:
        save_arrays({"embeddings": embeddings, "probabilities": probabilities}, path)
    return Features(embeddings=embeddings, probabilities=probabilities, rows=rows)


def observations(
    conversations: Sequence[Conversation], times: Mapping[str, float], features: Features | None
) -> list[tuple[str, PastUtterance]]:
    """Every turn as an entry of a history, with its speaker's key; without features it has the text alone."""
    places = [(one.conversation_id, turn.index) for one in conversations for turn in one]
    if features is None:
        embeddings = probabilities = np.zeros((len(places), 0))
    else:
        rows = [features.rows[place] for place in places]
        embeddings, probabilities = features.embeddings[rows], features.probabilities[rows]
    turns = observed_turns(conversations, times, embeddings=embeddings, probabilities=probabilities)
    return [(key_of(conversation, turn), past) for conversation, turn, past in turns]


def module_digest(module: nn.Module) -> str:
    """SHA-256 over names, shapes and bytes of all weights."""
    digest = hashlib.sha256()
    for name, value in sorted(module.state_dict().items()):
        digest.update(f"{name} {tuple(value.shape)} {value.dtype}".encode())
        digest.update(value.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().data)
    return digest.hexdigest()


def _digest(parts: Iterable[str]) -> str:
    digest = hashlib.sha256()
    for part in parts:
        encoded = part.encode("utf-8", "surrogatepass")
        digest.update(len(encoded).to_bytes(8, "little"))
        digest.update(encoded)
    return digest.hexdigest()[:32]
