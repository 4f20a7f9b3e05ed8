"""Scores with a language model: one prompt per turn; the shared classifier gives the fine emotions.

Shapes: U turns, K labels of the model, C emotions reported, S samples.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np

from erc.data import Conversation, SpeakerPast, Utterance
from erc.emotions import EmotionSet, load_emotion_map, load_emotion_set
from erc.errors import ConfigError, NoDropoutError
from erc.inference.scorers.llm_belief import LabelBelief, belief_in_each, belief_in_one
from erc.inference.scorers.llm_model import (
    DEFAULT_SAMPLES,
    UNKNOWN_SOURCE,
    LanguageModel,
    Question,
    Reading,
)
from erc.inference.scorers.past_turns import SaidTurns
from erc.inference.scorers.prompt_notes import ConversationSpeakers
from erc.inference.scorers.scores import PastRead, Scores
from erc.inference.scorers.settings import InferenceSettings
from erc.inference.scorers.utterance import UtteranceScorer
from erc.llm.prompts.demonstrations import TurnSource
from erc.llm.prompts.dialogue import DialogueWindow
from erc.llm.prompts.notes import Demonstration, ReadTurn
from erc.llm.scoring.calibration import ContextualCalibrator, OddsPrior
from erc.llm.scoring.scores import LabelScorer
from erc.models.mc_modes import ESTIMATORS
from erc.resources import LLM_PREFIX


class LlmScorer:
    """Scores every turn by its own prompt: its dialogue, and bios and past turns of its speakers.

    `target` names the emotion set to report in, through a map of probabilities; None keeps the model's own.

    Raises:
        ConfigError: The uncertainty mode does not exist for language models.
        NoDropoutError: Sampling is requested without an adapter that has dropout.
    """

    kind = "llm"
    in_context = True

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
                f"--uncertainty {self.settings.uncertainty}: a language model can only sample its "
                "adapter's dropout; use full or off"
            )
        if self.settings.uncertainty == "full" and not model.dropout:
            raise NoDropoutError(
                f"{model.name} cannot give Monte-Carlo uncertainty: it has no adapter with dropout. Ask for "
                "--uncertainty off."
            )
        self._fine = load_emotion_map(utterance.fine_emotions.name, own.name)
        self.samples = (
            (self.settings.samples or DEFAULT_SAMPLES)
            if model.dropout and self.settings.uncertainty != "off"
            else 0
        )

    @property
    def identity(self) -> str:
        """`llm:` with the model's name."""
        return self.model.name

    @property
    def calibrated(self) -> bool:
        """Whether the probabilities were calibrated on labelled dialogues."""
        return self.model.calibrator is not None and self.model.fitted

    @property
    def emotions(self) -> EmotionSet:
        """The reported set."""
        return self._emotions

    @property
    def fine_emotions(self) -> EmotionSet:
        """The shared classifier's labels."""
        return self.utterance.fine_emotions

    @property
    def past_read(self) -> PastRead:
        """The parts of a speaker memory that prompts show."""
        return PastRead(turns=self.model.notes.past, bios=self.model.notes.bios)

    @property
    def remarks(self) -> tuple[str, ...]:
        """Remarks on how the model runs here, and whether its probabilities are calibrated."""
        if self.calibrated:
            return self.model.remarks
        return (
            *self.model.remarks,
            f"{self.identity} is not calibrated: its probabilities only rank the labels, and every turn it "
            "labels is marked for review",
        )

    @property
    def memory_remarks(self) -> tuple[str, ...]:
        """Remarks on memory text sent to a server, and on the writer of the adapter's training bios."""
        if not self.model.notes.any:
            return ()
        remarks = []
        if self.model.server is not None:
            remarks.append(
                "text of the speaker memory (bios, earlier words and emotions) is sent to "
                f"{self.model.server} with the dialogues"
            )
        if self.model.bio_writer is not None:
            writer = f"{LLM_PREFIX}{self.model.bio_writer.removeprefix(LLM_PREFIX)}"
            remarks.append(
                f"{self.identity} was trained with bios written by {writer}; the memory has counted ones "
                f"until `erc bios write --model {writer}` is run"
            )
        return tuple(remarks)

    @property
    def sampling(self) -> dict[str, Any]:
        """Mode and number of the Monte-Carlo samples, as a report states them."""
        return {"mode": "full" if self.samples else "off", "samples": self.samples}

    def close(self) -> None:
        """Closes the connections to a server, if there is one."""
        self.model.backend.close()

    def score(
        self,
        conversations: Sequence[Conversation],
        *,
        past: SpeakerPast | None = None,
        only: Mapping[int, Collection[int]] | None = None,
    ) -> Scores:
        """Scores every turn from its dialogue and its speakers' remembered past.

        `only` restricts the turns: the position of a conversation -> indices of its turns.
        """
        questions: list[Question] = []
        for place, conversation in enumerate(conversations):
            wanted = None if only is None else only.get(place, ())
            questions += self.questions(conversation, past=past, only=wanted)
        return self.answer(questions)

    def score_corpus(
        self, conversations: Sequence[Conversation], *, past: SpeakerPast | None = None
    ) -> Scores:
        """Same as `score`."""
        return self.score(conversations, past=past)

    def questions(
        self,
        conversation: Conversation,
        *,
        past: SpeakerPast | None = None,
        only: Collection[int] | None = None,
    ) -> list[Question]:
        """The questions about the turns of a conversation; `only` restricts them by index."""
        wanted = {turn.index for turn in conversation} if only is None else set(only)
        if not wanted:
            return []
        speakers = ConversationSpeakers(conversation.conversation_id, past)
        said = self.said(past)
        turns = [
            turn
            for turn in conversation
            if turn.index in wanted or (said is not None and turn.index < max(wanted))
        ]
        readings = dict(zip((turn.index for turn in turns), self._read(turns), strict=True))
        asked, window, source = [], DialogueWindow(self.model.builder), TurnSource.of(conversation)
        for turn in conversation:
            reading = readings.get(turn.index)
            if turn.index in wanted:
                asked.append(
                    self.question(window, turn, speakers=speakers, source=source, said=said, reading=reading)
                )
            window.append(turn)
            if said is not None and reading is not None:
                said.append(speakers.person(turn.speaker), reading.of(turn))
        return asked

    def said(self, past: SpeakerPast | None) -> SaidTurns | None:
        """Holds the turns of a conversation that later prompts show as past ones; None if they show none."""
        shown = self.model.notes
        return SaidTurns(shown.past) if shown.past and (past is not None or shown.without_memory) else None

    def read(self, text: str) -> ReadTurn:
        """The shared classifier's reading of a single text."""
        found = self.utterance.score_texts([text])
        return ReadTurn(text, found.embedding[0], found.probabilities[0])

    def question(
        self,
        window: DialogueWindow,
        turn: Utterance,
        *,
        speakers: ConversationSpeakers,
        source: TurnSource = UNKNOWN_SOURCE,
        said: SaidTurns | None = None,
        reading: Reading | None = None,
    ) -> Question:
        """The question about `turn` after the turns in `window`.

        Demonstrations never come from the turn's `source`. `said` holds the speakers' turns in the
        conversation, if prompts show them. `reading` is given if the turn was already read in a batch.
        """
        reading = self._read([turn])[0] if reading is None else reading
        vector, person = reading.embedding, speakers.person(turn.speaker)
        shown: Sequence[Demonstration] = ()
        if self.model.demonstrations is not None:
            shown = self.model.demonstrations(vector, turn.text, source)
        notes = speakers.notes(
            turn.speaker,
            index=turn.index,
            heard=tuple(name for name in window.spoken if speakers.person(name) != person),
            said=() if said is None else said.of(person),
            vector=lambda: vector,
            shown=self.model.notes,
            emotions=self._fine,
        )
        if self._map.source.multi_label:
            prompts = window.prompts(turn, notes=notes, demonstrations=shown)
        else:
            prompts = (window.prompt(turn, notes=notes, demonstrations=shown),)
        return Question(turn, prompts, self._seen(window, turn, speakers), reading)

    def answer(self, questions: Sequence[Question], *, backend: LabelScorer | None = None) -> Scores:
        """Scores of the turns in question. `backend` may cache a conversation; None takes the model's own."""
        belief = self._belief(questions, backend or self.model.backend)
        readings = [question.reading for question in questions]
        epistemic = [reading.epistemic for reading in readings if reading.epistemic is not None]
        width = len(self.fine_emotions)
        return Scores(
            probabilities=belief.probabilities,
            uncertainty=belief.uncertainty,
            fine=_rows([reading.probabilities for reading in readings], width=width),
            fine_epistemic=None if self.utterance.mode == "off" else _rows(epistemic, width=width),
            embedding=_rows(
                [reading.embedding for reading in readings], width=self.utterance.network.embedding_width
            ),
            seen=np.array([question.seen for question in questions], dtype=np.int64).reshape(-1, 2),
            truncated=np.array([question.prompt.truncated for question in questions], dtype=bool),
            prompt=f"{self.model.builder.prompt_id}@{self.model.builder.sha256[:12]}",
            score_kinds=belief.kinds,
        )

    def _read(self, turns: Sequence[Utterance]) -> list[Reading]:
        """The shared classifier's reading of each turn; a turn is encoded only here."""
        read = self.utterance.score_texts([turn.text for turn in turns])
        epistemic = [None] * len(turns) if read.per_label is None else list(read.per_label.epistemic)
        return [Reading(*one) for one in zip(read.embedding, read.probabilities, epistemic, strict=True)]

    def _belief(self, questions: Sequence[Question], backend: LabelScorer) -> LabelBelief:
        calibrator, labels = self.model.calibrator, self.model.builder.labels
        if self._map.source.multi_label:
            assert not isinstance(calibrator, ContextualCalibrator)
            prompts = [question.prompts for question in questions]
            return belief_in_each(backend, prompts, prior=calibrator, to=self._map)
        assert not isinstance(calibrator, OddsPrior)
        return belief_in_one(
            backend,
            [question.prompt for question in questions],
            labels,
            calibrator=calibrator,
            to=self._map,
            samples=self.samples,
            seed=self.settings.seed,
        )

    def _seen(
        self, window: DialogueWindow, turn: Utterance, speakers: ConversationSpeakers
    ) -> tuple[int, int]:
        """Past turns of the speaker that the prompt may show, and the number of their conversations."""
        person = speakers.person(turn.speaker)
        own = sum(count for name, count in window.spoken.items() if speakers.person(name) == person)
        utterances, conversations = speakers.counts(turn.speaker) if self.model.notes.any else (0, 0)
        return own + utterances, conversations + (own > 0)


def _rows(rows: Sequence[np.ndarray], *, width: int) -> np.ndarray:
    """The rows (U, `width`) of U turns, which may be none."""
    return np.stack(rows) if rows else np.zeros((0, width), dtype=np.float32)
