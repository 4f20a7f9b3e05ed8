"""The shared utterance classifier: texts to calibrated probabilities, uncertainty and embeddings.

Shapes: U texts, T tokens, F fine emotions, S samples, P embedding width.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from torch import Tensor

from erc.data import Conversation, SpeakerPast
from erc.emotions import EmotionSet, load_emotion_map, load_emotion_set
from erc.errors import ArtefactError
from erc.inference.scorers.mc_uncertainty import SampledUncertainty, chosen_sampling
from erc.inference.scorers.parallel import run_parallel, share
from erc.inference.scorers.scores import PastRead, Scores
from erc.inference.scorers.settings import InferenceSettings
from erc.models.encoder.batching import length_buckets, pad_tokens
from erc.models.encoder.precision import in_precision, torch_dtype
from erc.models.encoder.tokenizing import encode_texts
from erc.models.utterance import UtteranceClassifier, UtteranceOutput
from erc.persistence.artefact import Artefact
from erc.uncertainty.calibration import load_calibrator
from erc.uncertainty.decomposition import Uncertainty, binary_entropy

_CPU_TOKENS = 1024  # More tokens leave a core's cache, which costs a fifth of the speed.
_PARTS = ("total", "aleatoric", "epistemic")


@dataclass(frozen=True, slots=True)
class UtteranceScores:
    """Scores of U texts.

    Attributes:
        logits: (U, F) float32 before calibration.
        probabilities: (U, F) calibrated.
        per_label: Uncertainty (U, F) of `probabilities`, or None.
        mapped: (U, C) over the reported set.
        uncertainty: (U,) of `mapped`, summed over labels.
        embedding: (U, P) float32.
        truncated: (U,) bool.
    """

    logits: np.ndarray
    probabilities: np.ndarray
    per_label: Uncertainty | None
    mapped: np.ndarray
    uncertainty: Uncertainty
    embedding: np.ndarray
    truncated: np.ndarray


class UtteranceScorer:
    """The scorer of an utterance classifier: each turn by itself.

    `target` names the emotion set to report in, through a map of probabilities; None keeps the classifier's
    own.

    Raises:
        ArtefactError: The artefact is not an utterance classifier.
    """

    kind = "utterance"
    in_context = False
    past_read = PastRead()
    remarks: tuple[str, ...] = ()
    memory_remarks: tuple[str, ...] = ()

    def __init__(
        self, artefact: Artefact, *, settings: InferenceSettings | None = None, target: str | None = None
    ) -> None:
        if not isinstance(artefact.network, UtteranceClassifier):
            raise ArtefactError(
                f"{artefact.info.identity} is a model of kind '{artefact.info.kind}', not an utterance "
                "classifier"
            )
        self.settings = settings or InferenceSettings()
        network = in_precision(
            artefact.network, device=self.settings.device, dtype=torch_dtype(self.settings.precision)
        )
        # keeps no copy of the weights in their first precision
        self.artefact = replace(artefact, network=network)
        self.calibrator = load_calibrator(artefact.calibrator)
        self._fine = load_emotion_set(artefact.info.emotion_set)
        self._emotions = load_emotion_set(target) if target else self._fine
        self._map = load_emotion_map(self._fine.name, self._emotions.name)
        self._sampled = SampledUncertainty(self.calibrator, self._map)
        self.mode, self.samples, self.top_k = chosen_sampling(artefact, self.settings)
        self.network: UtteranceClassifier = network

    @property
    def _tokens_per_batch(self) -> int:
        wanted = self.settings.tokens_per_batch
        return min(wanted, _CPU_TOKENS) if self.settings.device == "cpu" else wanted

    @property
    def identity(self) -> str:
        """`name@version`."""
        return self.artefact.info.identity

    @property
    def emotions(self) -> EmotionSet:
        """The reported set."""
        return self._emotions

    @property
    def fine_emotions(self) -> EmotionSet:
        """The classifier's own labels."""
        return self._fine

    @property
    def name(self) -> str:
        """The model's name."""
        return self.artefact.info.name

    @property
    def revision(self) -> str:
        """The beginning of the SHA-256 of the weights."""
        return self.artefact.sha256[:16]

    @property
    def width(self) -> int:
        """Width of the embeddings."""
        return self.network.embedding_width

    @property
    def utterance(self) -> UtteranceScorer:
        """The classifier itself."""
        return self

    @property
    def sampling(self) -> dict[str, Any]:
        """Mode and number of the Monte-Carlo samples, as a report states them."""
        return {"mode": self.mode, "samples": 0 if self.mode == "off" else self.samples}

    def close(self) -> None:
        """Does nothing: the classifier holds no connections."""

    def score_corpus(
        self, conversations: Sequence[Conversation], *, past: SpeakerPast | None = None
    ) -> Scores:
        """Same as `score`."""
        return self.score(conversations, past=past)

    def score(self, conversations: Sequence[Conversation], *, past: SpeakerPast | None = None) -> Scores:
        """Scores every turn by its text alone; `past` is not read."""
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

    def embed(self, texts: Sequence[str]) -> np.ndarray:
        """Embeddings (U, P) float32 of texts, for vector search."""
        return self.score_texts(texts).embedding

    def tokenize(self, texts: Sequence[str]) -> tuple[list[tuple[int, ...]], np.ndarray]:
        """Token ids of each text, cut to the model's limit, and which texts were cut."""
        tokens, cut = encode_texts(self.artefact.tokenizer, texts, max_tokens=self.artefact.info.max_tokens)
        return tokens, np.array(cut, dtype=bool)

    def score_texts(self, texts: Sequence[str]) -> UtteranceScores:
        """Scores of U texts in their order; batching does not change them beyond rounding."""
        labels = len(self._fine)
        logits = np.empty((len(texts), labels), dtype=np.float32)
        embedding = np.empty((len(texts), self.network.embedding_width), dtype=np.float32)
        parts = {name: np.empty((len(texts), labels)) for name in _PARTS}
        mapped_parts = {name: np.full(len(texts), np.nan) for name in _PARTS}
        tokens, truncated = self.tokenize(texts)

        def score(bucket: list[int]) -> None:
            ids, mask = pad_tokens(
                [tokens[i] for i in bucket], pad_id=self.artefact.tokenizer.pad_token_id or 0
            )
            output, samples = self._pass(ids.to(self.settings.device), mask.to(self.settings.device))
            logits[bucket] = output.logits.float().cpu().numpy()
            embedding[bucket] = output.embedding.float().cpu().numpy()
            if samples is not None:
                per_label, per_turn = self._sampled(samples)
                for name in _PARTS:
                    parts[name][bucket] = getattr(per_label, name)
                    mapped_parts[name][bucket] = getattr(per_turn, name)

        lengths, device = [len(t) for t in tokens], self.settings.device
        most = share(sum(lengths), most=self._tokens_per_batch, device=device)
        run_parallel(
            score,
            list(length_buckets(lengths, max_tokens=most)),
            device=device,
            width=self.network.encoder.hidden_size,
        )
        probabilities = self.calibrator(logits)
        mapped = self._map.apply(probabilities)
        if self.mode == "off":
            mapped_parts["total"] = binary_entropy(mapped).sum(axis=-1)
        return UtteranceScores(
            logits=logits,
            probabilities=probabilities,
            per_label=None if self.mode == "off" else Uncertainty(**parts),
            mapped=mapped,
            uncertainty=Uncertainty(**mapped_parts),
            embedding=embedding,
            truncated=truncated,
        )

    def _pass(self, ids: Tensor, mask: Tensor) -> tuple[UtteranceOutput, Tensor | None]:
        """The deterministic output, and sampled logits (S, B, F) or None."""
        output = self.network(input_ids=ids, attention_mask=mask)
        if self.mode == "off":
            return output, None
        if self.mode == "head":
            return output, self.network.mc_head(
                output.embedding, n_samples=self.samples, seed=self.settings.seed
            )
        return output, self.network.mc_forward(
            ids,
            mask,
            self.samples,
            seed=self.settings.seed,
            mode=self.mode,  # type: ignore[arg-type]
            top_k=self.top_k,
        )
