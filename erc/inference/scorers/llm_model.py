"""The parts of a language model that a scorer uses, and its questions about turns.

Shapes: P embedding width, F fine emotions.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np

from erc.data import Utterance
from erc.llm.backends.live import LiveScorer
from erc.llm.prompts.builder import PromptBuilder
from erc.llm.prompts.demonstrations import TurnSource
from erc.llm.prompts.notes import Demonstration, ReadTurn, Retrieval
from erc.llm.prompts.template import RenderedPrompt
from erc.llm.scoring.calibration import ContextualCalibrator, OddsPrior
from erc.llm.scoring.scores import LabelScorer


class Backend(LabelScorer, Protocol):
    """A source of label scores that may hold connections and may cache a conversation."""

    def live(self) -> LiveScorer | None:
        """The same scores for one live conversation, read incrementally; None if nothing is cached."""
        ...

    def close(self) -> None:
        """Closes connections, if there are any."""
        ...


DEFAULT_SAMPLES = 8
"""Networks sampled by default; each reads every prompt once more."""


@dataclass(frozen=True, slots=True)
class PromptNotes:
    """What prompts show of a speaker's past: bios, and at most `history` earlier turns."""

    bios: bool = False
    history: int = 0
    retrieval: Retrieval = "recency"
    without_memory: bool = True
    """Whether past turns of the conversation itself are shown without a memory."""

    @property
    def past(self) -> int:
        """Maximum number of past turns shown."""
        return 0 if self.retrieval == "none" else self.history

    @property
    def any(self) -> bool:
        """Whether a speaker memory is read at all."""
        return self.bios or self.past > 0


UNKNOWN_SOURCE = TurnSource()


Shown = Callable[[np.ndarray, str, TurnSource], Sequence[Demonstration]]
"""From a turn's embedding (P,), text and source to the demonstrations of its prompt."""


@dataclass(frozen=True, slots=True)
class LanguageModel:
    """A backend with its prompts, label set and calibrator.

    Attributes:
        name: Name in records, with the `llm:` prefix.
        backend: The source of label scores.
        builder: Builds the prompts.
        emotion_set: Emotion set of the labels.
        policies: Records of decision policies, by emotion set.
        dropout: Whether the adapter can be sampled.
        notes: What prompts show of a speaker's past.
    """

    name: str
    backend: Backend
    builder: PromptBuilder
    emotion_set: str
    calibrator: ContextualCalibrator | OddsPrior | None = None
    """Calibrates the scores; None takes them as they are. `OddsPrior` is for multi-label sets."""
    fitted: bool = True
    """Whether the calibrator was fitted on labelled dialogues; False if it only removes a prior."""
    policies: Mapping[str, Any] = field(default_factory=dict)
    dropout: bool = False
    notes: PromptNotes = field(default_factory=PromptNotes)
    demonstrations: Shown | None = None
    """Finds the demonstrations an adapter was trained with."""
    bio_writer: str | None = None
    """Language model that wrote the training bios; None for counted bios, or without bios."""
    server: str | None = None
    """URL of the server that runs the model; None for a local one."""
    remarks: tuple[str, ...] = ()
    """Remarks for the user on how the model runs here."""


@dataclass(frozen=True, slots=True, eq=False)
class Reading:
    """The shared classifier's reading of a turn.

    embedding (P,), probabilities (F,), epistemic (F,) or None.
    """

    embedding: np.ndarray
    probabilities: np.ndarray
    epistemic: np.ndarray | None

    def of(self, turn: Utterance) -> ReadTurn:
        """The turn as later prompts show it."""
        return ReadTurn(turn.text, self.embedding, self.probabilities)


@dataclass(frozen=True, slots=True)
class Question:
    """A question about one turn.

    Attributes:
        turn: The turn.
        prompts: Its prompt, or one per label for a multi-label set.
        seen: Past turns of the speaker, and their conversations, that the prompt may show.
        reading: The shared classifier's reading of the turn.
    """

    turn: Utterance
    prompts: tuple[RenderedPrompt, ...]
    seen: tuple[int, int]
    reading: Reading

    @property
    def prompt(self) -> RenderedPrompt:
        """The first prompt."""
        return self.prompts[0]
