"""A language model behind the Predictor: it is asked for the emotion of each turn, the shared classifier for the 28 fine ones.

Shapes: U turns, K labels of the model, C emotions reported, S samples.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

import numpy as np

from erc.data import Conversation, Utterance
from erc.emotions import EmotionSet, load_emotion_map, load_emotion_set
from erc.errors import ConfigError, NoDropoutError
from erc.inference.scorers.llm_belief import LabelBelief, belief_in_each, belief_in_one
from erc.inference.scorers.llm_model import (
    DEFAULT_SAMPLES,
    UNKNOWN_SOURCE,
    LanguageModel,
    Question,
    Reading,
    StoredNotes,
)
from erc.inference.scorers.past_turns import SaidTurns, chosen_turns, entries
from erc.inference.scorers.scores import Scores
from erc.inference.scorers.settings import InferenceSettings
from erc.inference.scorers.utterance import UtteranceScorer
from erc.llm.prompts.demonstrations import TurnSource
from erc.llm.prompts.dialogue import DialogueWindow
from erc.llm.prompts.notes import NO_NOTES, ReadTurn, SpeakerNotes
from erc.llm.scoring.calibration import ContextualCalibrator, OddsPrior
from erc.llm.scoring.scores import LabelScorer
from erc.models.mc_modes import ESTIMATORS


class LlmScorer:
    """Scores every turn by its own prompt: its dialogue up to it, and, with a speaker memory, bios and earlier emotions of its speaker.

    `target` names the emotion set to report in (through the map of probabilities); None keeps the model's
    own.
    """

    def __init__(
        self,
        model: LanguageModel,
        *,
        utterance: UtteranceScorer,
        settings: InferenceSettings | None = None,
        target: str | None = None,
    ) -> None:
        self.model = model
        self.utterance = utterance
        self.settings = settings or InferenceSettings()
        own = load_emotion_set(model.emotion_set)
        self._emotions = load_emotion_set(target) if target else own
        self._map = load_emotion_map(own.name, self._emotions.name)
        if any(self.settings.uncertainty == mode for mode, kind in ESTIMATORS.items() if kind.encoder_only):
            raise ConfigError(
                f"--uncertainty {self.settings.uncertainty}: of a language model only its adapter's dropout is drawn; use full or off"
            )
        if self.settings.uncertainty == "full" and not model.dropout:
            raise NoDropoutError(
                f"{model.name} cannot give Monte-Carlo uncertainty: it has no adapter with dropout. Ask for --uncertainty off."
            )
        self._fine = load_emotion_map(utterance.fine_emotions.name, own.name)
        self.samples = (
            (self.settings.samples or DEFAULT_SAMPLES)
            if model.dropout and self.settings.uncertainty != "off"
            else 0
        )

    @property
    def identity(self) -> str:
        return self.model.name

    @property
    def calibrated(self) -> bool:
        """Whether its probabilities mean what they say."""
        return self.model.calibrator is not None and self.model.fitted

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
        """LabelBelief about every turn, from its past alone."""
        return self.score_turns(conversations)

    def score_turns(
        self,
        conversations: Sequence[Conversation],
        *,
        notes: StoredNotes | None = None,
        only: Mapping[int, Collection[int]] | None = None,
    ) -> Scores:
        """As `score`, with what a speaker memory holds; `only` names the turns wanted, by the conversation's place and the turn's index."""
        questions: list[Question] = []
        for place, conversation in enumerate(conversations):
            questions += self.questions(
                conversation, notes=notes, only=None if only is None else only.get(place, ())
            )
        return self.answer(questions)

    def questions(
        self,
        conversation: Conversation,
        *,
        notes: StoredNotes | None = None,
        only: Collection[int] | None = None,
    ) -> list[Question]:
        """What is asked of the turns of a conversation; `only` holds the indices of those wanted."""
        wanted = {turn.index for turn in conversation} if only is None else set(only)
        if not wanted:
            return []
        said = self.said(notes)
        turns = [
            turn
            for turn in conversation
            if turn.index in wanted or (said is not None and turn.index < max(wanted))
        ]
        readings = dict(zip((turn.index for turn in turns), self._read(turns), strict=True))
        asked, window, origin = [], DialogueWindow(self.model.builder), TurnSource.of(conversation)
        for turn in conversation:
            if turn.index in wanted:
                asked.append(
                    self.question(
                        window, turn, notes=notes, origin=origin, said=said, reading=readings[turn.index]
                    )
                )
            window.append(turn)
            if said is not None and turn.index in readings:
                said.append(person_of(notes, turn.speaker), readings[turn.index].of(turn))
        return asked

    def said(self, notes: StoredNotes | None) -> SaidTurns | None:
        """Where the turns of a conversation are kept that its later prompts may show as past ones; None where they show none."""
        shown = self.model.notes
        return SaidTurns(shown.past) if shown.past and (notes is not None or shown.without_memory) else None

    def read(self, text: str) -> ReadTurn:
        """A text as the shared classifier reads it by itself."""
        found = self.utterance.score_texts([text])
        return ReadTurn(text, found.embedding[0], found.probabilities[0])

    def question(
        self,
        past: DialogueWindow,
        turn: Utterance,
        *,
        notes: StoredNotes | None = None,
        origin: TurnSource = UNKNOWN_SOURCE,
        said: SaidTurns | None = None,
        reading: Reading | None = None,
    ) -> Question:
        """What is asked of `turn` after the turns of `past`; nothing from its `origin` is shown as a demonstration.

        `said` has what the speakers said in the conversation, where prompts show it as their past. `reading`
        is given where the turn was read before, together with others.
        """
        reading = self._read([turn])[0] if reading is None else reading
        shown = (
            ()
            if self.model.demonstrations is None
            else self.model.demonstrations(reading.embedding, turn.text, origin)
        )
        known = self._notes(
            past, turn, reading, notes, () if said is None else said.of(person_of(notes, turn.speaker))
        )
        each = self._map.source.multi_label
        prompts = (
            past.prompts(turn, notes=known, demonstrations=shown)
            if each
            else (past.prompt(turn, notes=known, demonstrations=shown),)
        )
        return Question(turn, prompts, self._seen(past, turn, notes), reading)

    def answer(self, questions: Sequence[Question], *, backend: LabelScorer | None = None) -> Scores:
        """LabelBelief about the turns asked of. `backend` may keep what it has read of a conversation; None asks the model's own."""
        belief = self._belief(questions, backend or self.model.backend)
        epistemic = [
            question.reading.epistemic for question in questions if question.reading.epistemic is not None
        ]
        sampled = self.utterance.mode != "off"
        return Scores(
            probabilities=belief.probabilities,
            uncertainty=belief.uncertainty,
            fine=_rows(
                [question.reading.probabilities for question in questions], width=len(self.fine_emotions)
            ),
            fine_epistemic=_rows(epistemic, width=len(self.fine_emotions)) if sampled else None,
            embedding=_rows(
                [question.reading.embedding for question in questions],
                width=self.utterance.network.embedding_width,
            ),
            seen=np.array([question.seen for question in questions], dtype=np.int64).reshape(-1, 2),
            truncated=np.array([question.prompt.truncated for question in questions], dtype=bool),
            prompt=f"{self.model.builder.prompt_id}@{self.model.builder.sha256[:12]}",
            score_kinds=belief.kinds,
        )

    def _read(self, turns: Sequence[Utterance]) -> list[Reading]:
        """Each turn as the shared classifier reads it; this is the only time that a turn is encoded."""
        read = self.utterance.score_texts([turn.text for turn in turns])
        epistemic = [None] * len(turns) if read.per_label is None else list(read.per_label.epistemic)
        return [Reading(*one) for one in zip(read.embedding, read.probabilities, epistemic, strict=True)]

    def _belief(self, questions: Sequence[Question], backend: LabelScorer) -> LabelBelief:
        calibrator, labels = self.model.calibrator, self.model.builder.labels
        if self._map.source.multi_label:
            assert not isinstance(calibrator, ContextualCalibrator)
            return belief_in_each(
                backend, [question.prompts for question in questions], prior=calibrator, to=self._map
            )
        assert not isinstance(calibrator, OddsPrior)
        drawn = {"samples": self.samples, "seed": self.settings.seed}
        return belief_in_one(
            backend,
            [question.prompt for question in questions],
            labels,
            calibrator=calibrator,
            to=self._map,
            **drawn,
        )

    def _notes(
        self,
        past: DialogueWindow,
        turn: Utterance,
        reading: Reading,
        stored: StoredNotes | None,
        said: Sequence[ReadTurn],
    ) -> SpeakerNotes:
        shown = self.model.notes
        if stored is None:
            chosen = chosen_turns(
                (),
                said,
                near={},
                vector=lambda: reading.embedding,
                retrieval=shown.retrieval,
                limit=shown.history,
            )
            return SpeakerNotes(history=entries(chosen, self._fine))
        if not shown.any:
            return NO_NOTES
        own = stored.person(turn.speaker)
        found = stored.notes(
            turn.speaker,
            others=tuple(name for name in past.spoken if stored.person(name) != own),
            vector=lambda: reading.embedding,
            before=stored.moment(turn.index),
            retrieval=shown.retrieval,
            limit=shown.history,
            said=said,
        )
        return found if shown.bios else SpeakerNotes(history=found.history)

    def _seen(self, past: DialogueWindow, turn: Utterance, stored: StoredNotes | None) -> tuple[int, int]:
        """Past turns of the speaker that the prompt may show, and of how many conversations."""
        person = person_of(stored, turn.speaker)
        own = sum(count for name, count in past.spoken.items() if person_of(stored, name) == person)
        older = stored.counts(turn.speaker) if stored is not None and self.model.notes.any else (0, 0)
        return own + older[0], older[1] + (own > 0)


def person_of(stored: StoredNotes | None, speaker: str) -> str:
    """Who a name is to the memory; without one every name is a person."""
    return speaker if stored is None else stored.person(speaker)


def _rows(rows: Sequence[np.ndarray], *, width: int) -> np.ndarray:
    """The rows (U, `width`) of U turns, which may be none."""
    return np.stack(rows) if rows else np.zeros((0, width), dtype=np.float32)
