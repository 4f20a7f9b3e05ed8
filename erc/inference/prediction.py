"""One labelled turn and its output record."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

from erc.data import Utterance

SCHEMA_VERSION = 1


@dataclass(frozen=True, slots=True)
class FineEmotion:
    """One of the 28 emotions with its probability and epistemic uncertainty in nats."""

    emotion: str
    probability: float
    epistemic: float | None


class TurnUncertainty(NamedTuple):
    """Uncertainty of a turn's emotion in nats; the last two are None without samples."""

    total: float
    aleatoric: float | None
    epistemic: float | None


@dataclass(frozen=True, slots=True)
class Prediction:
    """The label of one turn.

    Attributes:
        conversation_id: Id of the conversation.
        utterance: The turn.
        emotion: The most probable emotion of the reported set.
        confidence: Calibrated probability of `emotion`.
        probabilities: Probability of every emotion, most probable first.
        fine: Reported emotions of the 28, by the shared classifier.
        total: Predictive entropy of `probabilities` in nats.
        aleatoric: Expected entropy in nats; None without samples.
        epistemic: Mutual information in nats; None without samples.
        decision: `accept` or `review`.
        model: `name@version` of the model that labelled the turn.
        past_utterances: Past turns of the speaker that the model could read.
        past_conversations: Conversations of these turns.
        speaker_id: Id in the speaker memory; None without one.
        truncated: Whether the text was longer than the model's limit.
        prompt: Prompt templates and the start of their hash, for a language model.
        score_kind: How a language model was scored: `exact` (log-likelihood of whole labels), `codes`
            (one-letter codes; `codes-bounded` if a code was not among the returned tokens and has an upper
            bound) or `none` (a bare choice without probabilities).
    """

    conversation_id: str
    utterance: Utterance
    emotion: str
    confidence: float
    probabilities: dict[str, float]
    fine: tuple[FineEmotion, ...]
    total: float
    aleatoric: float | None
    epistemic: float | None
    decision: str
    model: str
    past_utterances: int = 0
    past_conversations: int = 0
    speaker_id: str | None = None
    truncated: bool = False
    prompt: str | None = None
    score_kind: str | None = None

    @property
    def speaker(self) -> str:
        """The speaker's name as written."""
        return self.utterance.speaker

    @property
    def text(self) -> str:
        """The words of the turn."""
        return self.utterance.text

    @property
    def uncertainty(self) -> TurnUncertainty:
        """`total`, `aleatoric` and `epistemic` together, as in the record."""
        return TurnUncertainty(self.total, self.aleatoric, self.epistemic)

    def to_record(self) -> dict[str, Any]:
        """The JSON-able record of schema version 1, probabilities rounded to four decimals.

        `prompt` and `score_kind` are present for language models only.
        """
        turn = self.utterance
        return {
            "conversation_id": self.conversation_id,
            "utterance_id": turn.utterance_id,
            "index": turn.index,
            "speaker": turn.speaker,
            "speaker_id": self.speaker_id,
            "text": turn.text,
            "start": turn.start,
            "end": turn.end,
            "timestamp": turn.timestamp,
            "emotion": self.emotion,
            "confidence": round(self.confidence, 4),
            "probabilities": {label: round(p, 4) for label, p in self.probabilities.items()},
            "fine": [
                {
                    "emotion": f.emotion,
                    "probability": round(f.probability, 4),
                    "epistemic": None if f.epistemic is None else round(f.epistemic, 4),
                }
                for f in self.fine
            ],
            "uncertainty": {
                "total": _nats(self.total),
                "aleatoric": _nats(self.aleatoric),
                "epistemic": _nats(self.epistemic),
            },
            "decision": self.decision,
            "model": self.model,
            "history": {"utterances": self.past_utterances, "conversations": self.past_conversations},
            "truncated": self.truncated,
            "schema_version": SCHEMA_VERSION,
            **({} if self.prompt is None else {"prompt": self.prompt, "score_kind": self.score_kind}),
            **({"cues": turn.meta["cues"]} if "cues" in turn.meta else {}),
        }


def answered_by(first: Prediction, second: Prediction) -> Prediction:
    """The second model's prediction, with the fine emotions and past counts of the first."""
    return replace(
        second,
        fine=first.fine,
        past_utterances=first.past_utterances,
        past_conversations=first.past_conversations,
    )


def _nats(value: float | None) -> float | None:
    return None if value is None or math.isnan(value) else round(value, 4)
