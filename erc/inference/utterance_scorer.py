"""The shared utterance classifier at work: texts in, calibrated probabilities, uncertainty and embeddings out.

Shapes: U texts, T tokens, F fine emotions, S samples, P embedding width.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from erc.data import Conversation
from erc.emotions import EmotionSet, load_emotion_map, load_emotion_set
from erc.errors import ArtefactError
from erc.inference.scores import Scores
from erc.inference.settings import InferenceSettings
from erc.models.batching import length_buckets, pad_tokens
from erc.models.dropout import require_dropout
from erc.models.precision import torch_dtype
from erc.models.utterance import UtteranceClassifier
from erc.persistence.artefact import Artefact
from erc.uncertainty.calibration import calibrate_samples, load_calibrator
from erc.uncertainty.decomposition import Uncertainty, binary_decomposition, binary_entropy

_CHARACTERS_PER_TOKEN = 32  # a text is cut to this many characters per token before tokenising, so that a huge one costs no more than a long one


@dataclass(frozen=True, slots=True)
class UtteranceScores:
    """Belief about U texts over the classifier's own labels.

    `probabilities` (U, F) calibrated; `per_label` their uncertainty (U, F) or None; `mapped` (U, C) the same belief over the
    reported set with its `uncertainty` (U,) summed over labels; `embedding` (U, P) float32; `truncated` (U,) bool.
    """

    probabilities: np.ndarray
    per_label: Uncertainty | None
    mapped: np.ndarray
    uncertainty: Uncertainty
    embedding: np.ndarray
    truncated: np.ndarray


class UtteranceScorer:
    """An utterance classifier from its artefact, scoring turns each by itself.

    `target` names the emotion set to report in (through the map of probabilities); None keeps the classifier's own labels.
    """

    def __init__(self, artefact: Artefact, *, settings: InferenceSettings | None = None, target: str | None = None) -> None:
        if not isinstance(artefact.network, UtteranceClassifier):
            raise ArtefactError(f"{artefact.info.identity} is a model of kind '{artefact.info.kind}', not an utterance classifier")
        self.settings = settings or InferenceSettings()
        self.artefact = artefact
        self.calibrator = load_calibrator(artefact.calibrator)
        self._fine = load_emotion_set(artefact.info.emotion_set)
        self._emotions = load_emotion_set(target) if target else self._fine
        self._map = load_emotion_map(self._fine.name, self._emotions.name)
        defaults = artefact.info.uncertainty
        wanted = self.settings.uncertainty
        self.mode: str = str(defaults.get("mode", "head")) if wanted == "default" else wanted
        self.samples = self.settings.samples or int(defaults.get("samples", 50))
        self.top_k = int(defaults.get("top_k", 1))
        if self.mode != "off":
            require_dropout(artefact.network, name=artefact.info.identity)
        self.network: UtteranceClassifier = artefact.network.to(device=self.settings.device, dtype=torch_dtype(self.settings.precision)).eval()

    @property
    def identity(self) -> str:
        return self.artefact.info.identity

    @property
    def emotions(self) -> EmotionSet:
        return self._emotions

    @property
    def fine_emotions(self) -> EmotionSet:
        return self._fine

    def score(self, conversations: Sequence[Conversation]) -> Scores:
        """Belief about every turn; the turns around it play no part."""
        texts = [utterance.text for conversation in conversations for utterance in conversation]
        scores = self.score_texts(texts)
        fine_epistemic = None if scores.per_label is None else scores.per_label.epistemic
        return Scores(
            probabilities=scores.mapped,
            uncertainty=scores.uncertainty,
            fine=scores.probabilities,
            fine_epistemic=fine_epistemic,
            embedding=scores.embedding,
            seen=np.zeros((len(texts), 2), dtype=np.int64),
            truncated=scores.truncated,
        )

    def tokenize(self, texts: Sequence[str]) -> tuple[list[list[int]], np.ndarray]:
        """Token ids of each text within the model's limit, and which texts were cut."""
        limit = self.artefact.info.max_tokens
        characters = limit * _CHARACTERS_PER_TOKEN
        encoded = self.artefact.tokenizer(
            [text[:characters] for text in texts],
            truncation=True,
            max_length=limit,
            padding=False,
            return_attention_mask=False,
            return_token_type_ids=False,
            return_overflowing_tokens=False,
        )["input_ids"]
        truncated = np.array([len(ids) >= limit or len(text) > characters for ids, text in zip(encoded, texts, strict=True)], dtype=bool)
        return encoded, truncated

    @torch.inference_mode()
    def score_texts(self, texts: Sequence[str]) -> UtteranceScores:
        """Scores of U texts, in their order; how they are batched does not change a score beyond rounding."""
        labels = len(self._fine)
        probabilities = np.empty((len(texts), labels))
        mapped = np.empty((len(texts), len(self._emotions)))
        embedding = np.empty((len(texts), self.network.embedding_width), dtype=np.float32)
        parts = {name: np.empty((len(texts), labels)) for name in ("total", "aleatoric", "epistemic")}
        mapped_parts = {name: np.full(len(texts), np.nan) for name in ("total", "aleatoric", "epistemic")}
        tokens, truncated = self.tokenize(texts) if texts else ([], np.zeros(0, dtype=bool))
        for bucket in length_buckets([len(t) for t in tokens], max_tokens=self.settings.tokens_per_batch):
            ids, mask = pad_tokens([tokens[i] for i in bucket], pad_id=self.artefact.tokenizer.pad_token_id or 0)
            logits, pooled, samples = self._pass(ids.to(self.settings.device), mask.to(self.settings.device))
            probabilities[bucket] = self.calibrator(logits)
            mapped[bucket] = self._map.apply(probabilities[bucket])
            embedding[bucket] = pooled
            if samples is None:
                mapped_parts["total"][bucket] = binary_entropy(mapped[bucket]).sum(axis=-1)
                continue
            sampled = calibrate_samples(self.calibrator, samples)
            for store, decomposition in ((parts, binary_decomposition(sampled)), (mapped_parts, self._mapped(sampled))):
                for name, values in store.items():
                    values[bucket] = getattr(decomposition, name)
        return UtteranceScores(
            probabilities=probabilities,
            per_label=None if self.mode == "off" else Uncertainty(**parts),
            mapped=mapped,
            uncertainty=Uncertainty(**mapped_parts),
            embedding=embedding,
            truncated=truncated,
        )

    def _mapped(self, sampled: np.ndarray) -> Uncertainty:
        """Uncertainty (U,) over the reported set: per-label entropies, summed."""
        return binary_decomposition(self._map.apply(sampled)).utterance()

    def _pass(self, ids: Tensor, mask: Tensor) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
        """Logits (B, F), embedding (B, P) of the deterministic pass, and logits (S, B, F) of the sampled one or None."""
        output = self.network(input_ids=ids, attention_mask=mask)
        samples: Tensor | None = None
        if self.mode == "head":
            samples = self.network.mc_head(output.embedding, n_samples=self.samples, seed=self.settings.seed)
        elif self.mode in ("top-k", "full"):
            samples = self.network.mc_forward(ids, mask, self.samples, seed=self.settings.seed, mode=self.mode, top_k=self.top_k)  # type: ignore[arg-type]
        return (
            output.logits.float().cpu().numpy(),
            output.embedding.float().cpu().numpy(),
            None if samples is None else samples.float().cpu().numpy(),
        )
