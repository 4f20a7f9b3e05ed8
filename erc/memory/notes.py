"""What a prompt may know of a conversation's speakers: what the speaker memory holds from strictly before it, and what they have said in it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from erc.data import Moment
from erc.emotions import EmotionMap
from erc.inference.scorers.past_turns import chosen_turns, entries
from erc.llm.prompts.notes import ReadTurn, Retrieval, SpeakerBio, SpeakerNotes, Vector
from speakers import Bio, Observation, Passage, Point, Recall, Registry, SpeakerContext, SpeakerId

MOST_PASSAGES = 8
"""Sentences of a bio that a prompt shows."""
_LAST_TURNS = 12
"""Of a person, which say what of a longer bio is to the point."""


@dataclass(frozen=True, slots=True)
class RegistryNotes:
    """Bios and earlier emotions of the people in one conversation that begins at `start`, which lie before it; what was said in it is handed in.

    An earlier turn's emotion is what the shared classifier made of its words alone, in training and when
    labelling alike; what a conversation model once answered is never read back, or its errors would feed on
    themselves.

    `identities` maps names as written to people; who is not in it (a person who asked to be forgotten) has no
    past. `emotions` maps the 28 fine emotions, by which the memory keeps a turn, to the labels of the prompt.
    Contexts are read once per person.
    """

    registry: Registry
    identities: Mapping[str, SpeakerId]
    start: Point
    emotions: EmotionMap
    limit: int = 12
    look_up: Callable[[str], SpeakerId | None] = lambda name: None
    """Finds the person of a name that is not in `identities`, as somebody's who joins a live conversation."""
    _contexts: dict[SpeakerId, SpeakerContext] = field(default_factory=dict)
    _joined: dict[str, SpeakerId | None] = field(default_factory=dict)

    def moment(self, index: int) -> Moment:
        """Turn `index` of the conversation in the memory's order."""
        return Moment(self.start.time, self.start.conversation_id, index)

    def counts(self, speaker: str) -> tuple[int, int]:
        """Past utterances and past conversations that are remembered of a speaker as written."""
        context = self._context(speaker)
        return (0, 0) if context is None else (context.utterances, context.conversations)

    def person(self, speaker: str) -> str:
        """The id of a speaker as written; the name itself for somebody who has none."""
        return self._identity(speaker) or speaker

    def notes(
        self,
        speaker: str,
        *,
        others: tuple[str, ...],
        vector: Vector,
        before: Moment,
        retrieval: Retrieval,
        limit: int,
        said: Sequence[ReadTurn] = (),
    ) -> SpeakerNotes:
        """Bios of `speaker` and `others`, and at most `limit` past turns of `speaker` by the rule of `chosen_turns`, oldest first.

        What is remembered lies before the conversation, so `before`, a turn of it, is later than all of it.
        """
        if before < self.moment(0):
            raise ValueError(
                f"before={before} lies ahead of the conversation these notes are for ({self.moment(0)})"
            )
        people = {
            self.person(name): name for name in reversed((speaker, *others))
        }  # of several names of a person the first one
        bios = [bio for name in people.values() if (bio := self._bio(name)) is not None]
        history = entries(self._turns(speaker, said, vector, retrieval, limit), self.emotions)
        return SpeakerNotes(
            bios=tuple(sorted(bios, key=lambda bio: bio.name)), history=history
        )  # one order for all turns: a prompt is read once

    def _turns(
        self, speaker: str, said: Sequence[ReadTurn], vector: Vector, retrieval: Retrieval, limit: int
    ) -> list[ReadTurn]:
        context = self._context(speaker)
        if retrieval == "none" or limit == 0:
            return []
        late = () if context is None else context.observations
        recall = Recall()
        if context is not None and context.utterances and retrieval != "recency":
            recall = self.registry.recall(vector(), speaker=context.speaker, before=self.start, k=limit)
        hits = recall.observations
        found = {_point(one): one for one in (*(hit.observation for hit in hits), *late)}
        ordered = sorted(found)
        near = {ordered.index(_point(hit.observation)): hit.score for hit in hits}
        remembered = [self._read(found[point]) for point in ordered]
        return chosen_turns(remembered, said, near=near, vector=vector, retrieval=retrieval, limit=limit)

    def _read(self, turn: Observation) -> ReadTurn:
        """A remembered turn as the classifier read it then."""
        fine = np.array([turn.weights.get(label, 0.0) for label in self.emotions.source.labels])
        return ReadTurn(turn.text, np.zeros(0) if turn.vector is None else turn.vector, fine)

    def _bio(self, name: str) -> SpeakerBio | None:
        context = self._context(name)
        if context is None or context.bio is None:
            return None
        passages = tuple(passage.text for passage in self._passages(context, context.bio))
        return SpeakerBio(name, passages, version=f"{context.bio.writer}#{context.bio.version}")

    def _passages(self, context: SpeakerContext, bio: Bio) -> Sequence[Passage]:
        """The passages shown: of a longer bio those nearest to the person's last turns, for then they stay the same through the conversation,
        and without vectors the first; in the bio's order."""
        if len(bio.passages) <= MOST_PASSAGES:
            return bio.passages
        last = self.registry.context(context.speaker, before=self.start, limit=_LAST_TURNS).observations
        vectors = [turn.vector.astype(np.float64) for turn in last if turn.vector is not None]
        recall = (
            self.registry.recall(
                np.mean(vectors, axis=0), speaker=context.speaker, before=self.start, k=MOST_PASSAGES
            )
            if vectors
            else Recall()
        )
        near = {hit.passage.text for hit in recall.passages}
        return [passage for passage in bio.passages if passage.text in near] or bio.passages[:MOST_PASSAGES]

    def _identity(self, name: str) -> SpeakerId | None:
        if name not in self.identities and name not in self._joined:
            self._joined[name] = self.look_up(name)
        return self.identities.get(name) or self._joined.get(name)

    def _context(self, name: str) -> SpeakerContext | None:
        speaker = self._identity(name)
        if speaker is None:
            return None
        if speaker not in self._contexts:
            self._contexts[speaker] = self.registry.context(speaker, before=self.start, limit=self.limit)
        return self._contexts[speaker]


def _point(turn: Observation) -> Point:
    assert turn.point is not None  # the store sets it
    return turn.point
