"""What a scorer needs to know of a language model, and the questions it asks.

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
"""Networks drawn where nothing else is asked for: each costs a reading of every prompt."""


@dataclass(frozen=True, slots=True)
class PromptNotes:
    """What the prompts show of a speaker's past: bios, and at most `history` turns of the conversation so far and of a memory."""

    bios: bool = False
    history: int = 0
    retrieval: Retrieval = "recency"
    without_memory: bool = True
    """Whether past turns of the conversation are shown where no memory is given."""

    @property
    def past(self) -> int:
        """Most past turns that are shown."""
        return 0 if self.retrieval == "none" else self.history

    @property
    def any(self) -> bool:
        """Whether a speaker memory is read at all."""
        return self.bios or self.past > 0


UNKNOWN_SOURCE = TurnSource()


Shown = Callable[[np.ndarray, str, TurnSource], Sequence[Demonstration]]
"""From a turn's embedding (P,) and words, and where the turn comes from, to the demonstrations that its prompt shows."""


@dataclass(frozen=True, slots=True)
class LanguageModel:
    """A back end with what is known of it: its prompts, the set they ask for, how its scores become probabilities.

    `calibrator` None: its scores are taken as they are. `policies` holds a record of a decision policy by
    emotion set. `dropout` says whether its adapter can be sampled.
    """

    name: str
    backend: Backend
    builder: PromptBuilder
    emotion_set: str
    calibrator: ContextualCalibrator | OddsPrior | None = None
    """An `OddsPrior` for a set whose emotions may hold together, of which each is asked for alone."""
    fitted: bool = True
    """Whether the calibrator was fitted on dialogues that people labelled; one that only takes a prior off was not."""
    policies: Mapping[str, Any] = field(default_factory=dict)
    dropout: bool = False
    notes: PromptNotes = field(default_factory=PromptNotes)
    demonstrations: Shown | None = None
    """Finds what an adapter that was trained with demonstrations is shown of its corpus."""
    bio_writer: str | None = None
    """The language model that wrote the bios an adapter was trained with; None where they were counted, or none was shown."""
    server: str | None = None
    """URL of the server that runs the model; None for a local one."""
    remarks: tuple[str, ...] = ()
    """What its user should know of how it runs here."""


@dataclass(frozen=True, slots=True, eq=False)
class Reading:
    """What the shared classifier made of a turn: embedding (P,), the fine emotions' probabilities (F,), their epistemic uncertainty (F,) or None."""

    embedding: np.ndarray
    probabilities: np.ndarray
    epistemic: np.ndarray | None

    def of(self, turn: Utterance) -> ReadTurn:
        """The turn as later prompts may show it."""
        return ReadTurn(turn.text, self.embedding, self.probabilities)


@dataclass(frozen=True, slots=True)
class Question:
    """What is asked of a turn: its prompt, and how many past turns of its speaker it may rest on, of how many conversations.

    Of a set whose emotions may hold together there is a prompt for each. `reading` is what the shared
    classifier made of the turn, by which its demonstrations were found.
    """

    turn: Utterance
    prompts: tuple[RenderedPrompt, ...]
    seen: tuple[int, int]
    reading: Reading

    @property
    def prompt(self) -> RenderedPrompt:
        """The first of its prompts."""
        return self.prompts[0]
