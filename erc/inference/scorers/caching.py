"""The shared classifier with a cache of scores, for corpora whose turns are read many times."""

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
    """An `UtteranceScorer` that caches the scores of each text, without samples.

    Score a whole corpus at once to fill batches; later requests for single texts use the cache. Equal texts
    share one score, since the classifier reads no context.
    """

    def __init__(self, artefact: Artefact, *, settings: InferenceSettings) -> None:
        super().__init__(artefact, settings=settings)
        if self.mode != "off":
            raise ValueError("samples are not kept: use settings with uncertainty off")
        self._rows: dict[str, dict[str, np.ndarray]] = {}
        self._empty = self._split(super().score_texts([]))

    def score_texts(self, texts: Sequence[str]) -> UtteranceScores:
        """Scores of the texts, in their order; new texts are scored together."""
        fresh = [text for text in dict.fromkeys(texts) if text not in self._rows]
        if fresh:
            values = self._split(super().score_texts(fresh))
            for row, text in enumerate(fresh):
                self._rows[text] = {name: value[row].copy() for name, value in values.items()}
        found: dict[str, Any] = self._empty
        if len(texts):
            rows = [self._rows[text] for text in texts]
            found = {name: np.stack([row[name] for row in rows]) for name in self._empty}
        found = dict(found)
        parts = Uncertainty(**{name: found.pop(name) for name in _PARTS})
        return UtteranceScores(**found, per_label=None, uncertainty=parts)

    @staticmethod
    def _split(scores: UtteranceScores) -> dict[str, np.ndarray]:
        """The arrays of some scores by name, one row per text."""
        arrays = {name: getattr(scores, name) for name in _ARRAYS}
        return arrays | {name: getattr(scores.uncertainty, name) for name in _PARTS}
