"""TODO."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from erc.data import Moment, PastUtterance, SpeakerHistory
from speakers import (
    Observation,
    SpeakerContext,
)


@dataclass(frozen=True, slots=True)
class StoredHistory:
    """A `HistoryProvider` over contexts that were read in one go, by speaker id.

    Every context lies strictly before its conversation, so `before` can only be later than all of it; the
    conversation's own turns are not the memory's business.
    """

    contexts: Mapping[str, SpeakerContext]
    labels: tuple[str, ...]

    def history(self, speaker: str, *, before: Moment, limit: int) -> SpeakerHistory:
        """At most `limit` remembered turns of the speaker id `speaker`, oldest first."""
        context = self.contexts.get(speaker)
        if context is None:
            return SpeakerHistory((), 0, 0)
        chosen = context.observations[-limit:] if limit else ()
        return SpeakerHistory(
            tuple(self._past(one) for one in chosen), context.utterances, context.conversations
        )

    def _past(self, observation: Observation) -> PastUtterance:
        assert observation.point is not None
        assert observation.vector is not None
        point = observation.point
        return PastUtterance(
            moment=Moment(point.time, point.conversation_id, point.index),
            embedding=observation.vector,
            probabilities=np.array(
                [observation.weights.get(label, 0.0) for label in self.labels], dtype=np.float32
            ),
            text=observation.text,
        )
