"""What a prompt may know of a conversation's speakers, read from the speaker memory strictly before that conversation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from erc.data import Moment
from erc.emotions import EmotionMap
from erc.llm.notes import HistoryEntry, Retrieval, SpeakerBio, SpeakerNotes, Vector
from speakers import Observation, Point, Registry, SpeakerContext, SpeakerId

MOST_PASSAGES = 8
"""Sentences of a bio that a prompt shows."""


@dataclass(frozen=True, slots=True)
class RegistryNotes:
    """Bios and earlier emotions of the people in one conversation that begins at `start`.

    An earlier turn's emotion is what the shared classifier made of its words alone, in training and when labelling alike; what a
    conversation model once answered is never read back, or its errors would feed on themselves.

    `identities` maps names as written to people; who is not in it (a person who asked to be forgotten) has no past. `emotions` maps
    the 28 fine emotions, by which the memory keeps a turn, to the labels of the prompt. Contexts are read once per person.
    """

    registry: Registry
    identities: Mapping[str, SpeakerId]
    start: Point
    emotions: EmotionMap
    limit: int = 12
    _contexts: dict[SpeakerId, SpeakerContext] = field(default_factory=dict)

    def moment(self, index: int) -> Moment:
        """Turn `index` of the conversation in the memory's order."""
        return Moment(self.start.time, self.start.conversation_id, index)

    def counts(self, speaker: str) -> tuple[int, int]:
        """Past utterances and past conversations that are remembered of a speaker as written."""
        context = self._context(speaker)
        return (0, 0) if context is None else (context.utterances, context.conversations)

    def notes(self, speaker: str, *, others: tuple[str, ...], vector: Vector, before: Moment, retrieval: Retrieval, limit: int) -> SpeakerNotes:
        """Bios of `speaker` and `others`, and at most `limit` past turns of `speaker`, oldest first.

        Everything lies before the conversation, so `before`, a turn of it, is later than all of it. `both` takes the nearest turns for
        half of the places and the last ones for the rest.
        """
        if before < self.moment(0):
            raise ValueError(f"before={before} lies ahead of the conversation these notes are for ({self.moment(0)})")
        bios = tuple(bio for name in (speaker, *others) if (bio := self._bio(name)) is not None)
        turns = sorted(self._turns(speaker, vector, retrieval, limit), key=lambda one: _point(one))
        entries = tuple(entry for one in turns if (entry := self._entry(one)) is not None)
        return SpeakerNotes(bios=tuple(sorted(bios, key=lambda bio: bio.name)), history=entries)  # one order for all turns: a prompt is read once

    def _turns(self, speaker: str, vector: Vector, retrieval: Retrieval, limit: int) -> Sequence[Observation]:
        context = self._context(speaker)
        if context is None or retrieval == "none" or limit == 0:
            return ()
        near: tuple[Observation, ...] = ()
        if retrieval != "recency" and context.utterances:
            wanted = limit if retrieval == "similarity" else limit // 2
            found = self.registry.recall(vector(), speaker=context.speaker, before=self.start, k=wanted) if wanted else None
            near = () if found is None else tuple(hit.observation for hit in found.observations)
        if retrieval == "similarity":
            return near
        known = {(one.conversation_id, one.utterance_id) for one in near}
        late = [one for one in context.observations if (one.conversation_id, one.utterance_id) not in known]
        room = limit - len(near)
        return (*near, *late[len(late) - min(room, len(late)) :])

    def _entry(self, turn: Observation) -> HistoryEntry | None:
        """A remembered turn as the prompt shows it; None where the memory keeps no words."""
        if turn.text is None:
            return None
        fine = np.array([turn.weights.get(label, 0.0) for label in self.emotions.source.labels])
        mapped = self.emotions.apply(fine)
        best = int(mapped.argmax())
        return HistoryEntry(self.emotions.target.labels[best], float(mapped[best]), turn.text)

    def _bio(self, name: str) -> SpeakerBio | None:
        context = self._context(name)
        if context is None or context.bio is None:
            return None
        passages = tuple(passage.text for passage in context.bio.passages[:MOST_PASSAGES])
        return SpeakerBio(name, passages, version=f"{context.bio.writer}#{context.bio.version}")

    def _context(self, name: str) -> SpeakerContext | None:
        speaker = self.identities.get(name)
        if speaker is None:
            return None
        if speaker not in self._contexts:
            self._contexts[speaker] = self.registry.context(speaker, before=self.start, limit=self.limit)
        return self._contexts[speaker]


def _point(turn: Observation) -> Point:
    assert turn.point is not None  # the store sets it
    return turn.point
