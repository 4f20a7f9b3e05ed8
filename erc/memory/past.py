"""A `SpeakerPast` over a speaker memory. Only this module builds a speaker's past.

Labelling, live conversations, training and evaluation use it.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace

import numpy as np

from erc.data import Conversation, Moment, PastBio, PastUtterance, SimilarUtterance, SpeakerHistory
from speakers import Bio, Observation, Point, Registry, SpeakerContext, SpeakerId

LookUp = Callable[[Sequence[str]], Mapping[str, SpeakerId]]
"""Maps names of a conversation to people; a name without a person is left out."""
_NOBODY = SpeakerHistory((), 0, 0)
_LAST_TURNS = 12
"""Turns of a person by which passages of a bio are chosen."""
_PASTS_KEPT = 64
"""Conversations of a corpus whose pasts are kept."""


class RegistryPast:
    """The data of a registry about one conversation's speakers, strictly before `start`.

    Args:
        registry: The speaker memory.
        start: The conversation's beginning in the memory's order.
        names: Speakers to look up at once; others are looked up at their first mention.
        look_up: Finds people by name.
        labels: The shared classifier's labels, in the order of its probabilities.
        limit: Remembered turns of a person to load; a larger request loads again.
    """

    def __init__(
        self,
        registry: Registry,
        start: Point,
        names: Iterable[str],
        *,
        look_up: LookUp,
        labels: Sequence[str],
        limit: int,
    ) -> None:
        self.registry = registry
        self.start = start
        self.people: dict[str, SpeakerId] = {}
        self._asked: set[str] = set()
        self._look_up = look_up
        self._labels = tuple(labels)
        self._limit = limit
        self._contexts: dict[SpeakerId, SpeakerContext] = {}
        self._loaded: dict[SpeakerId, int] = {}
        self._turns: dict[Point, PastUtterance] = {}
        self._bios: dict[tuple[SpeakerId, int | None], PastBio | None] = {}
        self._admit(tuple(names))

    def time(self, conversation_id: str) -> float:
        """Start of the conversation in the memory's order."""
        return self.start.time

    def person(self, conversation_id: str, name: str) -> str | None:
        """The person called `name`; None for somebody who asked to be forgotten."""
        if name not in self._asked:
            self._admit((name,))
        return self.people.get(name)

    def history(self, person: str, *, before: Moment, limit: int) -> SpeakerHistory:
        """At most `limit` remembered turns of a person, oldest first, with the counts of all.

        Raises:
            ValueError: `before` is not a turn of the conversation.
        """
        self._require_within(before)
        context = self._context(SpeakerId(person), limit)
        if context is None:
            return _NOBODY
        end = replace(self.start, index=before.index)
        turns = [
            turn for turn in context.observations if _point(turn) < end and _point(turn).time <= before.time
        ]
        chosen = turns[-limit:] if limit else []
        return SpeakerHistory(tuple(map(self._read, chosen)), context.utterances, context.conversations)

    def similar(
        self, person: str, vector: np.ndarray, *, before: Moment, limit: int
    ) -> list[SimilarUtterance]:
        """At most `limit` remembered turns of a person, those nearest to `vector` (P,)."""
        self._require_within(before)
        if person not in self.people.values():
            return []
        found = self.registry.recall(vector, speaker=SpeakerId(person), before=self.start, k=limit)
        return [SimilarUtterance(self._read(hit.observation), hit.score) for hit in found.observations]

    def bio(self, person: str, *, before: Moment, limit: int | None = None) -> PastBio | None:
        """The person's bio: all passages, or the `limit` nearest to the person's last turns, in their order.

        The choice is the same throughout the conversation, so that a prompt's beginning stays the same.
        """
        self._require_within(before)
        key = SpeakerId(person), limit
        if key not in self._bios:
            context = self._context(key[0], 0)
            bio = None if context is None else context.bio
            self._bios[key] = None if bio is None else self._shown(key[0], bio, limit)
        return self._bios[key]

    def _shown(self, person: SpeakerId, bio: Bio, limit: int | None) -> PastBio:
        passages = bio.passages
        if limit is not None:
            near = self._nearest_passages(person, limit)
            passages = tuple(one for one in passages if one.text in near) or passages[:limit]
        vectors = [one.vector for one in passages if one.vector is not None]
        return PastBio(
            passages=tuple(one.text for one in passages),
            version=f"{bio.writer}#{bio.version}",
            vectors=np.stack(vectors) if vectors and len(vectors) == len(passages) else None,
        )

    def _nearest_passages(self, person: SpeakerId, limit: int) -> set[str]:
        """Texts of the passages nearest to the mean of the person's last turns, by the vector index."""
        last = self.registry.context(person, before=self.start, limit=_LAST_TURNS).observations
        vectors = [turn.vector.astype(np.float64) for turn in last if turn.vector is not None]
        if not vectors:
            return set()
        query = np.mean(vectors, axis=0)
        found = self.registry.recall(query, speaker=person, before=self.start, k=limit)
        return {hit.passage.text for hit in found.passages}

    def _admit(self, names: Sequence[str]) -> None:
        self._asked.update(names)
        self.people.update(self._look_up(names))

    def _context(self, person: SpeakerId, limit: int) -> SpeakerContext | None:
        """The context of a person; None for an unknown key. The contexts of all people load together."""
        if person not in self.people.values():
            return None
        if self._loaded.get(person, -1) < limit or person not in self._contexts:
            wanted = max(limit, self._limit)
            people = [
                one
                for one in dict.fromkeys((person, *self.people.values()))
                if self._loaded.get(one, -1) < wanted
            ]
            found = self.registry.contexts([(one, self.start) for one in people], limit=wanted)
            self._contexts.update(zip(people, found, strict=True))
            self._loaded.update(dict.fromkeys(people, wanted))
        return self._contexts.get(person)

    def _read(self, turn: Observation) -> PastUtterance:
        """A remembered turn as the shared classifier read it."""
        point = _point(turn)
        if point not in self._turns:
            weights = [turn.weights.get(label, 0.0) for label in self._labels]
            self._turns[point] = PastUtterance.observed(
                Moment(point.time, point.conversation_id, point.index),
                np.zeros(0) if turn.vector is None else turn.vector,
                np.array(weights),
                turn.text,
            )
        return self._turns[point]

    def _require_within(self, before: Moment) -> None:
        if before.conversation_id != self.start.conversation_id:
            raise ValueError(f"before={before} is not a turn of conversation {self.start.conversation_id}")


class CorpusPast:
    """A `SpeakerPast` over memories of corpora: each conversation is looked up in the memory of its split.

    Args:
        memories: The memory of each conversation, by conversation id.
        conversations: The conversations that are looked up.
        labels: The shared classifier's labels, in the order of its probabilities.
        limit: Remembered turns of a person to load.
    """

    def __init__(
        self,
        memories: Mapping[str, Registry],
        conversations: Iterable[Conversation],
        *,
        labels: Sequence[str],
        limit: int,
    ) -> None:
        self.memories = memories
        self._conversations = {one.conversation_id: one for one in conversations}
        self._labels = tuple(labels)
        self._limit = limit
        self._pasts: OrderedDict[str, RegistryPast] = OrderedDict()

    def of(self, conversation_id: str) -> RegistryPast:
        """The past of one conversation; the last few asked for are kept."""
        if conversation_id not in self._pasts:
            registry = self.memories[conversation_id]
            self._pasts[conversation_id] = RegistryPast(
                registry,
                registry.point_for(conversation_id, 0),
                self._conversations[conversation_id].speakers,
                look_up=lambda names: people(registry, conversation_id, names),
                labels=self._labels,
                limit=self._limit,
            )
            if len(self._pasts) > _PASTS_KEPT:
                self._pasts.popitem(last=False)
        return self._pasts[conversation_id]

    def time(self, conversation_id: str) -> float:
        """Start of a conversation in the order of its memory."""
        return self.of(conversation_id).time(conversation_id)

    def person(self, conversation_id: str, name: str) -> str | None:
        """The person called `name` in a conversation."""
        return self.of(conversation_id).person(conversation_id, name)

    def history(self, person: str, *, before: Moment, limit: int) -> SpeakerHistory:
        """At most `limit` remembered turns of a person, oldest first."""
        return self.of(before.conversation_id).history(person, before=before, limit=limit)

    def similar(
        self, person: str, vector: np.ndarray, *, before: Moment, limit: int
    ) -> list[SimilarUtterance]:
        """At most `limit` remembered turns of a person, those nearest to `vector` (P,)."""
        return self.of(before.conversation_id).similar(person, vector, before=before, limit=limit)

    def bio(self, person: str, *, before: Moment, limit: int | None = None) -> PastBio | None:
        """The person's bio when the conversation began."""
        return self.of(before.conversation_id).bio(person, before=before, limit=limit)


def people(registry: Registry, conversation_id: str, names: Sequence[str]) -> dict[str, SpeakerId]:
    """The person of each name as written; somebody who asked to be forgotten is left out."""
    found = registry.resolve_all(tuple(names), conversation_id=conversation_id)
    return {
        name: one.speaker.speaker_id
        for name, one in zip(names, found, strict=True)
        if one.speaker is not None
    }


def _point(turn: Observation) -> Point:
    assert turn.point is not None  # the store sets it
    return turn.point
