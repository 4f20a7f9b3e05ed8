"""The shared classifier over texts that come again and again: each is read once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from erc.inference.scorers.settings import InferenceSettings
from erc.inference.scorers.utterance import UtteranceScorer, UtteranceScores
from erc.persistence.artefact import Artefact
from erc.uncertainty.decomposition import Uncertainty

_ARRAYS = ("logits", "probabilities", "mapped", "embedding", "truncated")
_PARTS = ("total", "aleatoric", "epistemic")


class CachedScorer(UtteranceScorer):
    """An `UtteranceScorer` that keeps what it made of each text, without samples.

    Handing a whole corpus in at once fills its batches; the same texts asked for one by one afterwards cost
    nothing. Two texts that are equal have one score anyway: the classifier sees no context.
    """

    def __init__(self, artefact: Artefact, *, settings: InferenceSettings) -> None:
        super().__init__(artefact, settings=settings)
        if self.mode != "off":
            raise ValueError("samples are not kept: use settings with uncertainty off")
        self._rows: dict[str, int] = {}
        self._kept: dict[str, np.ndarray] = {}

    def score_texts(self, texts: Sequence[str]) -> UtteranceScores:
        """Scores of the texts, in their order; those not met before are computed, together."""
        fresh = [text for text in dict.fromkeys(texts) if text not in self._rows]
        if fresh or not self._kept:
            self._keep(fresh, super().score_texts(fresh))
        rows = np.array([self._rows[text] for text in texts], dtype=np.int64)
        found: dict[str, Any] = {name: values[rows] for name, values in self._kept.items()}
        parts = Uncertainty(**{name: found.pop(name) for name in _PARTS})
        return UtteranceScores(**found, per_label=None, uncertainty=parts)

    def _keep(self, texts: Sequence[str], scores: UtteranceScores) -> None:
        values = {name: getattr(scores, name) for name in _ARRAYS} | {
            name: getattr(scores.uncertainty, name) for name in _PARTS
        }
        self._rows |= {text: len(self._rows) + number for number, text in enumerate(texts)}
        self._kept = {
            name: np.concatenate([self._kept[name], new]) if name in self._kept else new
            for name, new in values.items()
        }
