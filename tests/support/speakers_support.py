"""What several tests of the speaker memory share."""

from __future__ import annotations

import numpy as np

from speakers import Embedder, Observation, Registry, SpeakerId

WIDTH = 8
EMBEDDER = Embedder("tiny", "1", WIDTH)


class Clock:
    """A clock that a test moves by hand."""

    def __init__(self, now: float = 1_700_000_000.0) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now


def make(speaker: SpeakerId, conversation: str, index: int, **fields: object) -> Observation:
    """An observation with what a test cares about."""
    return Observation(speaker, conversation, f"{conversation}-{index}", index, **fields)  # type: ignore[arg-type]


def meet(registry: Registry, name: str, conversation: str = "hall") -> SpeakerId:
    """The id of a name, made if new."""
    speaker = registry.resolve(name, conversation_id=conversation).speaker
    assert speaker is not None
    return speaker.speaker_id


def vectors(count_: int, seed: int = 0, width: int = WIDTH) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((count_, width)).astype(np.float32)


def dump(registry: Registry, *, without: tuple[str, ...] = ()) -> dict[str, list[tuple[object, ...]]]:
    """Every row of every table, byte for byte."""
    from speakers.store.tables import METADATA

    with registry._session.store.read() as connection:
        return {
            name: sorted((tuple(row) for row in connection.execute(table.select())), key=repr)
            for name, table in METADATA.tables.items()
            if name not in without
        }
