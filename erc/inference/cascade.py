"""A cascade: a small model labels every turn, a language model labels those it marks for review."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from erc.data import Conversation, SpeakerPast
from erc.errors import ConfigError
from erc.inference.live.reader import CascadeReader, LiveReader
from erc.inference.prediction import Prediction, answered_by
from erc.inference.predictor import Predictor
from erc.inference.scorers.scores import PastRead, Scores
from erc.uncertainty.policy import REVIEW, DecisionPolicy


class CascadePredictor(Predictor):
    """Labels with `first`, then with the language model `second` where `first` asks for review.

    Each prediction's `model`, decision and uncertainty belong to the model that labelled the turn. The 28
    fine emotions and the counts of past turns always come from `first`.

    Raises:
        ConfigError: `second` is not a language model, or the two report in different emotion sets.
    """

    def __init__(self, first: Predictor, second: Predictor) -> None:
        self.first = first
        super().__init__(
            first.scorer, fine_thresholds=first.fine_thresholds, policy=first.policy, settings=first.settings
        )
        if second.scorer.kind != "llm":
            raise ConfigError(
                f"--second takes a language model, as llm:FOLDER; {second.scorer.identity} is none"
            )
        if second.scorer.emotions.labels != first.scorer.emotions.labels:
            raise ConfigError(
                f"{first.scorer.identity} reports in '{first.scorer.emotions.name}', "
                f"{second.scorer.identity} in '{second.scorer.emotions.name}': "
                "use --emotions with a set that both support"
            )
        self.second = second
        self._language_model: Any = second.scorer

    @property
    def policy(self) -> DecisionPolicy | None:
        """The first model's decision policy; it selects the turns that go to the second."""
        return self.first.policy

    @policy.setter
    def policy(self, policy: DecisionPolicy | None) -> None:
        self.first.policy = policy

    @property
    def past_read(self) -> PastRead:
        """What the two models read together."""
        return self.first.past_read | self.second.past_read

    def remarks(self, *, memory: bool) -> tuple[str, ...]:
        """Remarks of both models."""
        return (*self.first.remarks(memory=memory), *self.second.remarks(memory=memory))

    def close(self) -> None:
        """Closes the connections of both models."""
        self.first.close()
        self.second.close()

    def predict(
        self, conversations: Sequence[Conversation], *, past: SpeakerPast | None = None
    ) -> tuple[Scores, list[Prediction]]:
        """The first model's scores, and predictions; the second model labels those marked for review."""
        scores, predictions = self.first.predict(conversations, past=past)
        only: dict[int, set[int]] = {}
        rows, turns = [], []
        places = [(place, one, turn) for place, one in enumerate(conversations) for turn in one]
        for row, (place, conversation, turn) in enumerate(places):
            if predictions[row].decision == REVIEW:
                only.setdefault(place, set()).add(turn.index)
                rows.append(row)
                turns.append((conversation.conversation_id, turn))
        if rows:
            answers = self._language_model.score(conversations, past=past, only=only)
            for row, answer in zip(rows, self.second.predictions(turns, answers), strict=True):
                predictions[row] = answered_by(predictions[row], answer)
        return scores, predictions

    def live(
        self, conversation_id: str, *, corpus: str | None = None, past: SpeakerPast | None = None
    ) -> LiveReader:
        """Reads one live conversation with both models."""
        readers = [
            one._reader(conversation_id, corpus=corpus, past=past) for one in (self.first, self.second)
        ]
        return CascadeReader(*readers)
