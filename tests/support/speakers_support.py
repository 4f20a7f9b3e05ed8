"""Helpers that several tests of the speaker memory share."""

from __future__ import annotations

import numpy as np

from speakers import Embedder, Observation, Registry, SpeakerId

WIDTH = 8
EMBEDDER = Embedder("tiny", "1", WIDTH)


class Clock:
    """A clock that a test sets by hand."""

    def __init__(self, now: float = 1_700_000_000.0) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now


def make(speaker: SpeakerId, conversation: str, index: int, **fields: object) -> Observation:
    """An observation with the given fields."""
    return Observation(speaker, conversation, f"{conversation}-{index}", index, **fields)  # type: ignore[arg-type]


def meet(registry: Registry, name: str, conversation: str = "hall") -> SpeakerId:
    """The id of a name, created if new."""
    speaker = registry.resolve(name, conversation_id=conversation).speaker
    assert speaker is not None
    return speaker.speaker_id


def vectors(count_: int, seed: int = 0, width: int = WIDTH) -> np.ndarray:
    """Random vectors, shape (count_, width), float32."""
    return np.random.default_rng(seed).standard_normal((count_, width)).astype(np.float32)


def dump(registry: Registry, *, without: tuple[str, ...] = ()) -> dict[str, list[tuple[object, ...]]]:
    """Every row of every table."""
    from speakers.store.tables import METADATA

    with registry._session.store.read() as connection:
        return {
            name: sorted((tuple(row) for row in connection.execute(table.select())), key=repr)
            for name, table in METADATA.tables.items()
            if name not in without
        }


def run_command(memory: str, *words: str, code: int = 0, feed: str | None = None) -> str:
    """Standard output of `erc speakers WORDS` on a memory. Errors of the package are raised."""
    from typer.testing import CliRunner

    from erc.cli.speakers import app

    runner = CliRunner(env={"CONVEMO_MEMORY": memory, "COLUMNS": "200"})
    done = runner.invoke(app, list(words), input=feed)
    if done.exception is not None and not isinstance(done.exception, SystemExit):
        raise done.exception
    assert done.exit_code == code, done.output
    return done.stdout
