"""The Predictor: conversations in, predictions out. Command, service and batch all use it."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from erc.data import Conversation, SpeakerPast, Utterance
from erc.inference.kinds import live_turns
from erc.inference.live.reader import LiveReader, SingleReader
from erc.inference.prediction import FineEmotion, Prediction
from erc.inference.scorers.scores import ConversationScorer, PastRead, Scores
from erc.inference.scorers.settings import InferenceSettings
from erc.uncertainty.policy import DecisionPolicy
from erc.uncertainty.thresholds import LabelThresholds


@dataclass(frozen=True, slots=True)
class Labelled:
    """A conversation with one prediction per turn, in order."""

    conversation: Conversation
    predictions: tuple[Prediction, ...]


class Predictor:
    """Turns a scorer's probabilities into predictions.

    Args:
        scorer: The model.
        fine_thresholds: Probability from which each of the 28 emotions is reported; None: 0.5.
        policy: Selects turns for review; None accepts every turn.
        settings: How to compute.
    """

    def __init__(
        self,
        scorer: ConversationScorer,
        *,
        fine_thresholds: LabelThresholds | None = None,
        policy: DecisionPolicy | None = None,
        settings: InferenceSettings | None = None,
    ) -> None:
        self.scorer = scorer
        self.fine_thresholds = fine_thresholds
        self.policy = policy
        self.settings = settings or InferenceSettings()

    @property
    def past_read(self) -> PastRead:
        """The parts of a `SpeakerPast` that the predictor's models read."""
        return self.scorer.past_read

    def remarks(self, *, memory: bool) -> tuple[str, ...]:
        """Remarks on the models for the user; `memory` states whether a speaker memory is read."""
        return (*self.scorer.remarks, *(self.scorer.memory_remarks if memory else ()))

    def predict(
        self, conversations: Sequence[Conversation], *, past: SpeakerPast | None = None
    ) -> tuple[Scores, list[Prediction]]:
        """Scores and predictions of all turns, in the order of the conversations."""
        scores = self.scorer.score(conversations, past=past)
        turns = [(one.conversation_id, utterance) for one in conversations for utterance in one]
        return scores, self.predictions(turns, scores)

    def label(self, conversations: Sequence[Conversation]) -> list[Labelled]:
        """Labels conversations together: their turns share batches, their predictions are independent."""
        predictions = iter(self.predict(conversations)[1])
        return [
            Labelled(conversation=one, predictions=tuple(itertools.islice(predictions, len(one))))
            for one in conversations
        ]

    def live(
        self, conversation_id: str, *, corpus: str | None = None, past: SpeakerPast | None = None
    ) -> LiveReader:
        """Reads one live conversation turn by turn.

        Raises:
            ConfigError: The model reads each turn by itself.
        """
        return self._reader(conversation_id, corpus=corpus, past=past)

    def _reader(self, conversation_id: str, *, corpus: str | None, past: SpeakerPast | None) -> SingleReader:
        def decide(utterance: Utterance, scores: Scores) -> Prediction:
            return self.predictions([(conversation_id, utterance)], scores)[0]

        return SingleReader(live_turns(self.scorer, conversation_id, corpus=corpus, past=past), decide)

    def close(self) -> None:
        """Closes connections to a server, if there are any."""
        self.scorer.close()

    def stream(self, conversations: Iterable[Conversation]) -> Iterator[Labelled]:
        """Labels a stream in its order, holding about `turns_per_window` turns at a time."""
        window: list[Conversation] = []
        turns = 0
        for conversation in conversations:
            window.append(conversation)
            turns += max(1, len(conversation))  # also bounds a stream of empty conversations
            if turns >= self.settings.turns_per_window:
                yield from self.label(window)
                window, turns = [], 0
        if window:
            yield from self.label(window)

    def predictions(self, turns: Sequence[tuple[str, Utterance]], scores: Scores) -> list[Prediction]:
        """Predictions for (conversation id, utterance) pairs, from their scores in the same order."""
        rows = np.arange(len(turns))
        best = scores.probabilities.argmax(axis=-1) if len(rows) else rows
        confidence = scores.probabilities[rows, best]
        decisions = self._decide(confidence, scores.uncertainty.total)
        reported = self._reported(scores.fine)
        sampled = ~np.isnan(scores.uncertainty.epistemic)
        return [
            Prediction(
                conversation_id=conversation_id,
                utterance=utterance,
                emotion=self.scorer.emotions.labels[best[row]],
                confidence=float(confidence[row]),
                probabilities=self._probabilities(scores.probabilities[row]),
                fine=self._fine(scores, row, reported[row]),
                total=float(scores.uncertainty.total[row]),
                aleatoric=float(scores.uncertainty.aleatoric[row]) if sampled[row] else None,
                epistemic=float(scores.uncertainty.epistemic[row]) if sampled[row] else None,
                decision=str(decisions[row]),
                model=self.scorer.identity,
                past_utterances=int(scores.seen[row, 0]),
                past_conversations=int(scores.seen[row, 1]),
                truncated=bool(scores.truncated[row]),
                prompt=scores.prompt,
                score_kind=scores.score_kinds[row] if scores.score_kinds else None,
            )
            for row, (conversation_id, utterance) in enumerate(turns)
        ]

    def _decide(self, confidence: np.ndarray, total: np.ndarray) -> np.ndarray:
        if self.policy is None or not len(confidence):
            return np.full(len(confidence), "accept")
        return self.policy.decide(confidence, total)

    def _probabilities(self, row: np.ndarray) -> dict[str, float]:
        """Probability of every emotion, most probable first."""
        order = np.argsort(-row, kind="stable")
        return {self.scorer.emotions.labels[i]: float(row[i]) for i in order}

    def _reported(self, fine: np.ndarray) -> np.ndarray:
        """Mask (U, F) of the reported fine emotions: above their threshold, or else the most probable."""
        chosen = (
            fine >= 0.5 if self.fine_thresholds is None else self.fine_thresholds.decide(fine).astype(bool)
        )
        if len(fine):
            empty = ~chosen.any(axis=-1)
            chosen[empty, fine[empty].argmax(axis=-1)] = True
        return chosen

    def _fine(self, scores: Scores, row: int, chosen: np.ndarray) -> tuple[FineEmotion, ...]:
        indices = np.flatnonzero(chosen)
        order = indices[np.argsort(-scores.fine[row, indices], kind="stable")]
        epistemic = scores.fine_epistemic
        return tuple(
            FineEmotion(
                emotion=self.scorer.fine_emotions.labels[i],
                probability=float(scores.fine[row, i]),
                epistemic=None if epistemic is None else float(epistemic[row, i]),
            )
            for i in order
        )
