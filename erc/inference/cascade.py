"""Two models in a row: a cheap one answers, and the turns it would send to a person go to a language model first."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from erc.data import Conversation
from erc.errors import ConfigError
from erc.inference.prediction import Prediction, answered_by
from erc.inference.predictor import Labelled, Predictor
from erc.inference.scorers.llm import LlmScorer
from erc.inference.scorers.llm_model import StoredNotes
from erc.inference.scorers.scores import Scores
from erc.uncertainty.policy import REVIEW


class CascadePredictor(Predictor):
    """`first` labels every turn; those it marks for review are labelled by `second`, a language model, in their dialogue.

    A prediction's `model` says which of the two answered; decision and uncertainty are that model's. The 28
    fine emotions are the shared classifier's either way, and stay those of the first answer, as do the counts
    of the past.
    """

    def __init__(self, first: Predictor, second: Predictor) -> None:
        super().__init__(
            first.scorer, fine_thresholds=first.fine_thresholds, policy=first.policy, settings=first.settings
        )
        if not isinstance(second.scorer, LlmScorer):
            raise ConfigError(
                f"--second takes a language model, as llm:FOLDER; {second.scorer.identity} is none"
            )
        if second.scorer.emotions.labels != first.scorer.emotions.labels:
            raise ConfigError(
                f"{first.scorer.identity} reports in '{first.scorer.emotions.name}', {second.scorer.identity} in '{second.scorer.emotions.name}': "
                "name with --emotions a set that both know"
            )
        self.second = second
        self._asked = second.scorer

    def close(self) -> None:
        """Frees what both models hold."""
        super().close()
        self.second.close()

    def _assemble(self, conversations: Sequence[Conversation], scores: Scores) -> list[Labelled]:
        first = super()._assemble(conversations, scores)
        predictions = iter(
            self.refined(conversations, [prediction for one in first for prediction in one.predictions])
        )
        return [replace(one, predictions=tuple(next(predictions) for _ in one.predictions)) for one in first]

    def refined(
        self,
        conversations: Sequence[Conversation],
        predictions: Sequence[Prediction],
        *,
        notes: StoredNotes | None = None,
    ) -> list[Prediction]:
        """The predictions, those for review replaced by the language model's; `predictions` follow the turns of `conversations`."""
        only: dict[int, set[int]] = {}
        rows, turns = [], []
        places = [
            (place, conversation.conversation_id, turn)
            for place, conversation in enumerate(conversations)
            for turn in conversation
        ]
        for row, ((place, identifier, turn), prediction) in enumerate(zip(places, predictions, strict=True)):
            if prediction.decision == REVIEW:
                only.setdefault(place, set()).add(turn.index)
                rows.append(row)
                turns.append((identifier, turn))
        answers = list(predictions)
        if not rows:
            return answers
        for row, answer in zip(
            rows,
            self.second.predictions(turns, self._asked.score_turns(conversations, notes=notes, only=only)),
            strict=True,
        ):
            answers[row] = answered_by(answers[row], answer)
        return answers
