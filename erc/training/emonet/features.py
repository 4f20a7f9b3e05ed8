"""What the shared utterance classifier makes of a corpus, computed once and kept on disk.

The classifier was trained on another corpus (GoEmotions), so its features are as good on train as on dev and
need no cross-fitting.

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

from erc.data.chronology import InMemoryHistory
from erc.data.conversation import Conversation
from erc.data.history import Moment, PastUtterance
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
    """embeddings (N, P) float16 and probabilities (N, C) float32; `rows` finds an utterance by (conversation id, index)."""

    embeddings: np.ndarray
    probabilities: np.ndarray
    rows: Mapping[tuple[str, int], int]

    @property
    def width(self) -> int:
        """P + C, the width of one observation."""
        return int(self.embeddings.shape[1] + self.probabilities.shape[1])

    def vectors(self, conversation: Conversation) -> np.ndarray:
        """Embeddings (L, P) of a conversation's utterances."""
        return self.embeddings[
            [self.rows[conversation.conversation_id, utterance.index] for utterance in conversation]
        ]


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
    """Features of every utterance, from `cache_dir` where they were computed before; probabilities as `calibrator` has them (None: sigmoids).

    The file is found by a digest of the texts, the corpus files' `checksums`, the classifier's weights, the
    precision and `max_tokens`; another one of these makes another file. It is written whole or not at all. A
    file that does not hold what its name promises is computed anew. Raises InputError for conversations of
    one id.
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
            f"conversation id {twice} stands twice, so its utterances cannot be told apart: give each conversation an id of its own"
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
    conversations: Iterable[Conversation], times: Mapping[str, float], features: Features | None
) -> list[tuple[str, PastUtterance]]:
    """Every turn as it is remembered, with its speaker's key; without features only the text is."""
    nothing = np.zeros(0, dtype=np.float32)
    remembered = []
    for conversation in conversations:
        for turn in conversation:
            row = None if features is None else features.rows[conversation.conversation_id, turn.index]
            past = PastUtterance(
                moment=Moment(
                    time=times[conversation.conversation_id],
                    conversation_id=conversation.conversation_id,
                    index=turn.index,
                ),
                embedding=nothing if features is None else features.embeddings[row],
                probabilities=nothing if features is None else features.probabilities[row],
                text=turn.text,
            )
            remembered.append((key_of(conversation, turn), past))
    return remembered


def filled(history: InMemoryHistory, turns: Iterable[tuple[str, PastUtterance]]) -> InMemoryHistory:
    """`history` with `turns` in it."""
    for speaker, turn in turns:
        history.add(speaker, turn)
    return history


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
