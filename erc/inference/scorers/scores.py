"""What a model says of the turns of some conversations, before anyone decides anything.

Shapes: U turns in the order of the conversations given, C emotions, F = 28 fine emotions, P embedding width.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from erc.data import Conversation
from erc.emotions import EmotionSet
from erc.uncertainty.decomposition import Uncertainty


@dataclass(frozen=True, slots=True)
class Scores:
    """Calibrated belief about U turns.

    `probabilities` (U, C) over `emotions`; `uncertainty` (U,) of that belief (aleatoric and epistemic are NaN
    where nothing was sampled); `fine` (U, F) and `fine_epistemic` (U, F) or None from the utterance
    classifier; `embedding` (U, P) float32; `seen` (U, 2): past utterances and past conversations of the
    speaker that the belief rests on; `truncated` (U,) bool. Of a language model `prompt` names the templates
    with their hash, and `score_kinds` say of every turn how its scores came about.
    """

    probabilities: np.ndarray
    uncertainty: Uncertainty
    fine: np.ndarray
    fine_epistemic: np.ndarray | None
    embedding: np.ndarray
    seen: np.ndarray
    truncated: np.ndarray
    prompt: str | None = None
    score_kinds: tuple[str, ...] = ()


class ConversationScorer(Protocol):
    """A model behind the Predictor."""

    @property
    def identity(self) -> str:
        """`name@version`."""
        ...

    @property
    def emotions(self) -> EmotionSet:
        """The set `Scores.probabilities` is over."""
        ...

    @property
    def fine_emotions(self) -> EmotionSet:
        """The set `Scores.fine` is over."""
        ...

    def score(self, conversations: Sequence[Conversation]) -> Scores:
        """Belief about every turn, from its past alone."""
        ...
