"""Selects the earlier turns of a speaker that a prompt shows, from the conversation and from memory.

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
    """The last `limit` turns of each speaker of one conversation."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self._turns: dict[str, deque[ReadTurn]] = {}

    @property
    def nbytes(self) -> int:
        """Bytes of texts, embeddings and probabilities."""
        return sum(
            turn.embedding.nbytes
            + turn.probabilities.nbytes
            + len((turn.text or "").encode("utf-8", "replace"))
            for turn in self._all
        )

    def of(self, speaker: str) -> tuple[ReadTurn, ...]:
        """Turns of `speaker`, oldest first."""
        return tuple(self._turns.get(_key(speaker), ()))

    def append(self, speaker: str, turn: ReadTurn) -> None:
        """Appends a turn."""
        self._turns.setdefault(_key(speaker), deque(maxlen=self.limit)).append(turn)

    def snapshot(self) -> Callable[[], None]:
        """Records the turns; the returned function restores them."""
        kept = {key: list(turns) for key, turns in self._turns.items()}

        def back() -> None:
            self._turns = {key: deque(turns, maxlen=self.limit) for key, turns in kept.items()}

        return back

    def record(self) -> dict[str, list[str]]:
        """The texts by speaker, JSON-able."""
        return {key: [turn.text or "" for turn in turns] for key, turns in self._turns.items()}

    def restore(self, record: Mapping[str, Sequence[str]], read: Callable[[str], ReadTurn]) -> None:
        """Restores what `record` returned; `read` reads a text again."""
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

    Args:
        remembered: Turns from before the conversation, oldest first.
        said: Turns of the conversation so far, oldest first.
        near: Cosine similarity to the target of the nearest remembered turns, by position.
        vector: Computes the target's embedding.
        retrieval: `recency` takes the last turns, `similarity` the nearest. `both` takes the nearest for half
            of the places and the last ones for the rest. Ties go to the later turn.
        limit: Number of turns.
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
    """Turns in the form of a prompt, with labels of `emotions`; turns without stored text are left out."""
    found = []
    for turn in turns:
        if turn.text is not None:
            mapped = emotions.apply(turn.probabilities)
            best = int(mapped.argmax())
            found.append(HistoryEntry(emotions.target.labels[best], float(mapped[best]), turn.text))
    return tuple(found)


def _cosine(one: np.ndarray, other: np.ndarray) -> float:
    """Cosine in float64, as the speaker memory computes it; 0 for a zero vector."""
    first, second = one.astype(np.float64), other.astype(np.float64)
    norm = float(np.linalg.norm(first) * np.linalg.norm(second))
    return float(first @ second) / norm if norm else 0.0


def _key(speaker: str) -> str:
    """A key that ignores case and spacing of a name."""
    return speaker_key(None, speaker, "")
