"""A language model behind the Predictor: it is asked for the emotion of each turn, the shared classifier for the 28 fine ones.

Shapes: U turns, K labels of the model, C emotions reported, S samples.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np

from erc.data import Conversation, Moment
from erc.data.conversation import Context
from erc.emotions import EmotionSet, load_emotion_map, load_emotion_set
from erc.errors import ConfigError, NoDropoutError
from erc.inference.scores import Scores
from erc.inference.settings import InferenceSettings
from erc.inference.utterance_scorer import UtteranceScorer
from erc.llm.builder import PromptBuilder
from erc.llm.calibration import ContextualCalibrator
from erc.llm.notes import NO_NOTES, NotesProvider, Retrieval, SpeakerNotes
from erc.llm.prompts import RenderedPrompt
from erc.llm.scores import LabelScores
from erc.llm.scores import Scorer as LabelScorer
from erc.uncertainty.decomposition import Uncertainty, categorical_decomposition, categorical_entropy

DEFAULT_SAMPLES = 8
"""Networks drawn where nothing else is asked for: each costs a reading of every prompt."""


class StoredNotes(NotesProvider, Protocol):
    """Notes of one conversation's speakers, from before it, that also count what they rest on."""

    def moment(self, index: int) -> Moment:
        """Turn `index` of that conversation in the memory's order."""
        ...

    def counts(self, speaker: str) -> tuple[int, int]:
        """Past utterances and past conversations that are remembered of a speaker as written."""
        ...


@dataclass(frozen=True, slots=True)
class PromptNotes:
    """What the prompts show of a speaker's past: bios, and at most `history` turns found by `retrieval`."""

    bios: bool = False
    history: int = 0
    retrieval: Retrieval = "recency"

    @property
    def any(self) -> bool:
        """Whether a speaker memory is read at all."""
        return self.bios or (self.history > 0 and self.retrieval != "none")


@dataclass(frozen=True, slots=True)
class LanguageModel:
    """A back end with what is known of it: its prompts, the set they ask for, how its scores become probabilities.

    `calibrator` None: nothing was fitted for it. `policies` holds a record of a decision policy by emotion set. `dropout` says whether
    its adapter can be sampled.
    """

    name: str
    backend: LabelScorer
    builder: PromptBuilder
    emotion_set: str
    calibrator: ContextualCalibrator | None = None
    policies: Mapping[str, Any] = field(default_factory=dict)
    dropout: bool = False
    notes: PromptNotes = field(default_factory=PromptNotes)


class LlmScorer:
    """Scores every turn by its own prompt: its dialogue up to it, and, with a speaker memory, bios and earlier emotions of its speaker.

    `target` names the emotion set to report in (through the map of probabilities); None keeps the model's own.
    """

    def __init__(
        self, model: LanguageModel, *, utterance: UtteranceScorer, settings: InferenceSettings | None = None, target: str | None = None
    ) -> None:
        self.model = model
        self.utterance = utterance
        self.settings = settings or InferenceSettings()
        own = load_emotion_set(model.emotion_set)
        self._emotions = load_emotion_set(target) if target else own
        self._map = load_emotion_map(own.name, self._emotions.name)
        if self.settings.uncertainty in ("head", "top-k"):
            raise ConfigError(f"--uncertainty {self.settings.uncertainty}: of a language model only its adapter's dropout is drawn; use full or off")
        if self.settings.uncertainty == "full" and not model.dropout:
            raise NoDropoutError(f"{model.name} cannot give Monte-Carlo uncertainty: it has no adapter with dropout. Ask for --uncertainty off.")
        self.samples = (self.settings.samples or DEFAULT_SAMPLES) if model.dropout and self.settings.uncertainty != "off" else 0

    @property
    def identity(self) -> str:
        return self.model.name

    @property
    def calibrated(self) -> bool:
        """Whether its probabilities mean what they say."""
        return self.model.calibrator is not None

    @property
    def emotions(self) -> EmotionSet:
        return self._emotions

    @property
    def fine_emotions(self) -> EmotionSet:
        return self.utterance.fine_emotions

    def close(self) -> None:
        """Closes the connections to a server, where there is one."""
        close = getattr(self.model.backend, "close", None)
        if close is not None:
            close()

    def score(self, conversations: Sequence[Conversation]) -> Scores:
        """Belief about every turn, from its past alone."""
        return self.score_turns(conversations)

    def score_turns(
        self, conversations: Sequence[Conversation], *, notes: StoredNotes | None = None, only: Mapping[int, Collection[int]] | None = None
    ) -> Scores:
        """As `score`, with what a speaker memory holds; `only` names the turns wanted, by the conversation's place and the turn's index."""
        contexts = [
            Context.causal(conversation, turn.index)
            for place, conversation in enumerate(conversations)
            for turn in conversation
            if only is None or turn.index in only.get(place, ())
        ]
        prompts = [self.model.builder.emotion(context, notes=self._notes(context, notes)) for context in contexts]
        turns = self.utterance.score_texts([context.target.text for context in contexts])
        probabilities, uncertainty = self._belief(prompts)
        return Scores(
            probabilities=probabilities,
            uncertainty=uncertainty,
            fine=turns.probabilities,
            fine_epistemic=None if turns.per_label is None else turns.per_label.epistemic,
            embedding=turns.embedding,
            seen=np.array([self._seen(context, notes) for context in contexts], dtype=np.int64).reshape(-1, 2),
            truncated=np.array([len(context.target.text) > self.model.builder.safe.limits.utterance for context in contexts], dtype=bool),
        )

    def _belief(self, prompts: Sequence[RenderedPrompt]) -> tuple[np.ndarray, Uncertainty]:
        """Probabilities (U, C) and their uncertainty (U,)."""
        nothing = np.full(len(prompts), np.nan)
        if not prompts:
            return np.zeros((0, len(self._emotions))), Uncertainty(total=nothing, aleatoric=nothing, epistemic=nothing)
        labels = self.model.builder.labels
        scores = self._calibrated(self.model.backend.score(prompts, labels))
        probabilities = self._map.apply(scores.probabilities)
        if not self.samples:
            # Of a bare choice nothing is known of how sure it was: its entropy of 0 would be a lie.
            total = nothing if scores.score_kind == "none" else categorical_entropy(probabilities)
            return probabilities, Uncertainty(total=total, aleatoric=nothing, epistemic=nothing)
        drawn = self.model.backend.sample(prompts, labels, seed=self.settings.seed, samples=self.samples)  # type: ignore[attr-defined]
        sampled = np.stack([self._calibrated(LabelScores.of(labels, draw)).probabilities for draw in drawn])
        return probabilities, categorical_decomposition(self._map.apply(sampled))

    def _calibrated(self, scores: LabelScores) -> LabelScores:
        return scores if self.model.calibrator is None else self.model.calibrator.calibrated(scores)

    def _notes(self, context: Context, stored: StoredNotes | None) -> SpeakerNotes:
        shown = self.model.notes
        if stored is None or not shown.any:
            return NO_NOTES
        speaker = context.target.speaker
        others = tuple(dict.fromkeys(turn.speaker for turn in context.past if turn.speaker != speaker))
        found = stored.notes(
            speaker,
            others=others,
            text=context.target.text,
            before=stored.moment(context.target.index),
            retrieval=shown.retrieval,
            limit=shown.history,
        )
        return found if shown.bios else SpeakerNotes(history=found.history)

    def _seen(self, context: Context, stored: StoredNotes | None) -> tuple[int, int]:
        """Past turns of the speaker that the prompt may show, and of how many conversations."""
        own = sum(turn.speaker == context.target.speaker for turn in context.past)
        older = stored.counts(context.target.speaker) if stored is not None and self.model.notes.any else (0, 0)
        return own + older[0], older[1] + (own > 0)
