"""Which earlier turns of a speaker a prompt shows: those of the conversation so far and those that a speaker memory keeps, by one rule.

Shapes: P embedding width, F fine emotions.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence

import numpy as np

from erc.data.identity import speaker_key
from erc.emotions import EmotionMap
from erc.llm.prompts.notes import HistoryEntry, ReadTurn, Retrieval, Vector


class SaidTurns:
    """The last `limit` turns of each speaker of one conversation; its size is bounded by the number of speakers."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self._turns: dict[str, deque[ReadTurn]] = {}

    @property
    def nbytes(self) -> int:
        """Bytes of the words and of what was made of them."""
        return sum(
            turn.embedding.nbytes
            + turn.probabilities.nbytes
            + len((turn.text or "").encode("utf-8", "replace"))
            for turn in self._all
        )

    def of(self, speaker: str) -> tuple[ReadTurn, ...]:
        """What `speaker` has said, oldest first."""
        return tuple(self._turns.get(_key(speaker), ()))

    def append(self, speaker: str, turn: ReadTurn) -> None:
        """Takes a turn into the past."""
        self._turns.setdefault(_key(speaker), deque(maxlen=self.limit)).append(turn)

    def snapshot(self) -> Callable[[], None]:
        """Takes note of what was said so far; what is returned goes back there."""
        kept = {key: list(turns) for key, turns in self._turns.items()}

        def back() -> None:
            self._turns = {key: deque(turns, maxlen=self.limit) for key, turns in kept.items()}

        return back

    def record(self) -> dict[str, list[str]]:
        """The words by speaker, for a JSON file."""
        return {key: [turn.text or "" for turn in turns] for key, turns in self._turns.items()}

    def restore(self, record: Mapping[str, Sequence[str]], read: Callable[[str], ReadTurn]) -> None:
        """Goes on from what `record` gave; `read` reads a text again, alone as it was read then."""
        self._turns = {key: deque(map(read, texts), maxlen=self.limit) for key, texts in record.items()}

    @property
    def _all(self) -> Iterable[ReadTurn]:
        return (turn for turns in self._turns.values() for turn in turns)


def chosen_turns(
    remembered: Sequence[ReadTurn],
    said: Sequence[ReadTurn],
    *,
    near: Mapping[int, float],
    vector: Vector,
    retrieval: Retrieval,
    limit: int,
) -> list[ReadTurn]:
    """At most `limit` of a speaker's turns, oldest first.

    `remembered` lies before the conversation, oldest first, `said` in it; `near` has the cosine with the
    target's `vector` of the remembered turns that are nearest to it, by their place. `recency` takes the last
    turns and `similarity` the nearest; `both` takes the nearest for half of the places and of the others the
    last ones. Of equally near turns the later is nearer.
    """
    turns = [*remembered, *said]
    places = {"none": 0, "recency": 0, "similarity": limit, "both": limit // 2}[retrieval]
    cosines = dict(near)
    if places and said:
        target = vector()
        cosines |= {len(remembered) + i: _cosine(turn.embedding, target) for i, turn in enumerate(said)}
    nearest = sorted(cosines, key=lambda place: (-cosines[place], -place))[:places]
    if retrieval in ("none", "similarity"):
        return [turns[place] for place in sorted(nearest)]
    others = [place for place in range(len(turns)) if place not in nearest]
    return [
        turns[place] for place in sorted([*nearest, *others[max(0, len(others) - (limit - len(nearest))) :]])
    ]


def entries(turns: Iterable[ReadTurn], emotions: EmotionMap) -> tuple[HistoryEntry, ...]:
    """Turns as a prompt shows them, in the labels that `emotions` maps the fine ones to; without those whose words were not kept."""
    found = []
    for turn in turns:
        if turn.text is not None:
            mapped = emotions.apply(turn.probabilities)
            best = int(mapped.argmax())
            found.append(HistoryEntry(emotions.target.labels[best], float(mapped[best]), turn.text))
    return tuple(found)


def _cosine(one: np.ndarray, other: np.ndarray) -> float:
    """In float64, as the speaker memory measures; 0 where one of them is zero."""
    first, second = one.astype(np.float64), other.astype(np.float64)
    norm = float(np.linalg.norm(first) * np.linalg.norm(second))
    return float(first @ second) / norm if norm else 0.0


def _key(speaker: str) -> str:
    """Case and spacing of a name do not count."""
    return speaker_key(None, speaker, "")
