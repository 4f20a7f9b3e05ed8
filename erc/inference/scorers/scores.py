"""The Protocol of a scorer, and the scores it returns.

Shapes: U turns in the order of the conversations given, C emotions, F = 28 fine emotions, P embedding width.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from erc.data import Conversation, SpeakerPast, Utterance
from erc.emotions import EmotionSet
from erc.uncertainty.decomposition import Uncertainty

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True, slots=True)
class Scores:
    """Calibrated scores of U turns.

    Attributes:
        probabilities: (U, C) over the scorer's `emotions`.
        uncertainty: (U,) of these probabilities; aleatoric and epistemic are NaN without samples.
        fine: (U, F) probabilities of the shared utterance classifier.
        fine_epistemic: (U, F) their epistemic uncertainty, or None without samples.
        embedding: (U, P) float32 of the shared utterance classifier.
        seen: (U, 2) past utterances and past conversations of the speaker that the model could read.
        truncated: (U,) bool, turns longer than the model's limit.
        prompt: Name and hash of a language model's prompt templates.
        score_kinds: How a language model's scores were computed, one per turn.
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


@dataclass(frozen=True, slots=True)
class PastRead:
    """What a scorer reads of a `SpeakerPast`: at most `turns` past turns of a speaker, and whether bios."""

    turns: int = 0
    bios: bool = False

    def __or__(self, other: PastRead) -> PastRead:
        """What two scorers read together."""
        return PastRead(turns=max(self.turns, other.turns), bios=self.bios or other.bios)


class LiveTurns(Protocol):
    """State of a scorer within one live conversation; `kind` names it in a saved file."""

    kind: str

    def __len__(self) -> int:
        """Turns so far."""
        ...

    @property
    def nbytes(self) -> int:
        """Size of the state in bytes."""
        ...

    def read(self, utterance: Utterance) -> Scores:
        """Scores the next turn and appends it to the past."""
        ...

    def pass_over(self, utterance: Utterance) -> None:
        """Appends the next turn to the past without scoring it."""
        ...

    def snapshot(self) -> Callable[[], None]:
        """Records the state; the returned function restores it."""
        ...

    def record(self) -> dict[str, Any]:
        """The state without its tensors, JSON-able."""
        ...

    def tensors(self) -> dict[str, Tensor]:
        """The tensors of the state that a file keeps."""
        ...

    def restore(self, record: Mapping[str, Any], tensors: Mapping[str, Tensor], *, path: Path) -> None:
        """Restores the state that a file at `path` holds.

        Raises:
            ArtefactError: Another model wrote the file.
            ConfigError: The settings differ, which would change the predictions.
            KeyError: The file is damaged; likewise TypeError and ValueError.
        """
        ...


class SharedClassifier(Protocol):
    """The utterance classifier whose output a speaker memory stores."""

    @property
    def name(self) -> str:
        """The model's name."""
        ...

    @property
    def revision(self) -> str:
        """A digest of the weights: vectors of two revisions are not comparable."""
        ...

    @property
    def width(self) -> int:
        """Width P of the embeddings."""
        ...

    @property
    def fine_emotions(self) -> EmotionSet:
        """The classifier's labels."""
        ...

    def embed(self, texts: Sequence[str]) -> np.ndarray:
        """Embeddings (N, P) float32 of N texts."""
        ...


class ConversationScorer(Protocol):
    """The interface of a model for the Predictor."""

    @property
    def kind(self) -> str:
        """The entry in `erc.inference.kinds.CONVERSATION_MODELS`; `utterance` for none."""
        ...

    @property
    def identity(self) -> str:
        """`name@version`."""
        ...

    @property
    def emotions(self) -> EmotionSet:
        """The set of `Scores.probabilities`."""
        ...

    @property
    def fine_emotions(self) -> EmotionSet:
        """The set of `Scores.fine`."""
        ...

    @property
    def utterance(self) -> SharedClassifier:
        """The shared utterance classifier, whose output a speaker memory stores."""
        ...

    @property
    def in_context(self) -> bool:
        """Whether turns are scored with their conversation as context."""
        ...

    @property
    def past_read(self) -> PastRead:
        """The parts of a `SpeakerPast` that are read."""
        ...

    @property
    def remarks(self) -> tuple[str, ...]:
        """What a user should know of how the model runs here."""
        ...

    @property
    def memory_remarks(self) -> tuple[str, ...]:
        """Remarks for the user that apply if a speaker memory is read."""
        ...

    @property
    def sampling(self) -> dict[str, Any]:
        """Mode and number of the Monte-Carlo samples, as a report states them."""
        ...

    def score(self, conversations: Sequence[Conversation], *, past: SpeakerPast | None = None) -> Scores:
        """Scores every turn from its own conversation's past and its speaker's remembered past."""
        ...

    def score_corpus(
        self, conversations: Sequence[Conversation], *, past: SpeakerPast | None = None
    ) -> Scores:
        """Scores a corpus as in dev evaluation: speakers may be known from earlier conversations."""
        ...

    def close(self) -> None:
        """Closes connections to a server, if there are any."""
        ...
