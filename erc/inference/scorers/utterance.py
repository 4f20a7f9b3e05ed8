"""The shared utterance classifier: texts to calibrated probabilities, uncertainty and embeddings.

Shapes: U texts, T tokens, F fine emotions, S samples, P embedding width.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
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
from erc.models.encoder.precision import in_precision, torch_dtype
from erc.models.encoder.tokenizing import encode_texts
from erc.models.mc_modes import McMode
from erc.models.utterance import UtteranceClassifier
from erc.models.utterance_batches import McDraw, encode_utterances
from erc.persistence.artefact import Artefact
from erc.uncertainty.calibration import load_calibrator
from erc.uncertainty.decomposition import Uncertainty, binary_entropy

_CPU_TOKENS = 1024  # More tokens exceed a core's cache, which reduces the speed by a fifth.
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
    """The scorer of an utterance classifier, which reads each turn separately.

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
        # keeps no copy of the weights in their original precision
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
        """Scores every turn from its text only; `past` is not read."""
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
        """Token ids of each text, truncated to the model's limit, and which texts were truncated."""
        tokens, cut = encode_texts(self.artefact.tokenizer, texts, max_tokens=self.artefact.info.max_tokens)
        return tokens, np.array(cut, dtype=bool)

    def score_texts(self, texts: Sequence[str]) -> UtteranceScores:
        """Scores of U texts, in their order; batching changes a score only by rounding."""
        tokens, truncated = self.tokenize(texts)
        device, width = self.settings.device, self.network.encoder.hidden_size
        outputs = encode_utterances(
            self.network,
            tokens,
            pad_id=self.artefact.tokenizer.pad_token_id or 0,
            batch_tokens=share(sum(map(len, tokens)), most=self._tokens_per_batch, device=device),
            draw=self._draw,
            run=lambda work, batches: run_parallel(work, batches, device=device, width=width),
        )
        probabilities = self.calibrator(outputs.logits)
        mapped = self._map.apply(probabilities)
        per_label, per_turn = self._uncertainty(outputs.drawn, mapped)
        return UtteranceScores(
            logits=outputs.logits,
            probabilities=probabilities,
            per_label=per_label,
            mapped=mapped,
            uncertainty=per_turn,
            embedding=outputs.embedding,
            truncated=truncated,
        )

    @property
    def _draw(self) -> McDraw | None:
        """The samples of every batch, reduced to their uncertainty; None in mode `off`."""
        if self.mode == McMode.OFF:
            return None

        def reduce(samples: Tensor) -> dict[str, np.ndarray]:
            named = zip(("label", "turn"), self._sampled(samples), strict=True)
            return {f"{of}_{part}": getattr(found, part) for of, found in named for part in _PARTS}

        return McDraw(self.mode, self.samples, reduce, top_k=self.top_k, seed=self.settings.seed)

    def _uncertainty(
        self, drawn: Mapping[str, np.ndarray], mapped: np.ndarray
    ) -> tuple[Uncertainty | None, Uncertainty]:
        """Uncertainty per own label (U, F), or None in mode `off`, and per turn (U,)."""
        count = len(mapped)
        if self.mode == McMode.OFF:
            unknown = np.full(count, np.nan)
            return None, Uncertainty(binary_entropy(mapped).sum(axis=-1), unknown, unknown)
        empty = {"label": np.empty((count, len(self._fine))), "turn": np.empty(count)}  # without texts
        per_label, per_turn = (
            Uncertainty(**{part: drawn.get(f"{of}_{part}", nothing) for part in _PARTS})
            for of, nothing in empty.items()
        )
        return per_label, per_turn
