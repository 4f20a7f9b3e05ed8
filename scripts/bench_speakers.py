"""Measures how fast the speaker memory records, looks up and rebuilds, against a simple baseline for each.

    OMP_NUM_THREADS=1 python scripts/bench_speakers.py --sizes 10000 100000 1000000

Recording is compared with plain `sqlite3` inserts of the same rows into the same tables, with the same
transaction size and pragmas. Recall within a speaker is compared with a FAISS flat search over all rows.
Each speaker has 100 turns. Prints one JSON object per line: `intake` per transaction size, `lookup` per
number of observations.
"""

from __future__ import annotations

import argparse
import json
import sqlite3
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from speakers import END, ConversationLabel, Embedder, Observation, Registry, SpeakerId, StoredUncertainty
from speakers.store.tables import CONVERSATIONS, OBSERVATIONS
from speakers.vectors.index import unit

LABELS = tuple(f"emotion{number}" for number in range(28))
TURNS_PER_SPEAKER = 100
WORDS = "what a perfectly ordinary line of some conversation looks like, give or take a few words"


def conversation(
    name: str, owners: Sequence[SpeakerId], turns: int, width: int, draw: np.random.Generator
) -> list[Observation]:
    """Draw a conversation as the labelling pipeline would record it."""
    weights = draw.random((turns, len(LABELS)), dtype=np.float32)
    vectors = draw.standard_normal((turns, width), dtype=np.float32)
    return [
        Observation(
            owners[index % len(owners)], name, f"{name}-{index:04d}", index, text=f"{WORDS} {index}",
            weights=dict(zip(LABELS, weights[index].tolist(), strict=True)),
            uncertainty=StoredUncertainty(0.6, 0.5, 0.1), label=ConversationLabel("joy", 0.8),
            model="bench@1", vector=vectors[index],
        )
        for index in range(turns)
    ]  # fmt: skip


def speaker_id_of(registry: Registry, name: str) -> SpeakerId:
    """Return the id of a name; registers a new name."""
    speaker = registry.resolve(name, conversation_id="bench").speaker
    assert speaker is not None
    return speaker.speaker_id


def timed(work: Callable[[], Any]) -> float:
    """Return the seconds that one call takes."""
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def percentiles(work: Callable[[int], Any], repeats: int) -> dict[str, float]:
    """Time `work(0)`, `work(1)`, ... in milliseconds: median and 99th percentile, and median processor time.

    On a busy machine the wall clock also measures other processes; processor time does not.
    """
    clock, processor = [], []
    for number in range(repeats):
        before = time.thread_time()
        clock.append(1000 * timed(lambda number=number: work(number)))  # type: ignore[misc]
        processor.append(1000 * (time.thread_time() - before))
    return {
        "p50_ms": float(np.percentile(clock, 50)),
        "p99_ms": float(np.percentile(clock, 99)),
        "cpu_p50_ms": float(np.percentile(processor, 50)),
    }


def intake(folder: Path, *, width: int, turns: int, conversations: int, rounds: int = 3) -> dict[str, float]:
    """Measure acknowledged observations per second, of the memory and of plain `sqlite3`.

    Both are measured in every round, so that other load on the machine affects both.
    """
    rates: dict[str, list[float]] = {"memory": [], "bare": []}
    for number in range(rounds):
        path, bare = folder / f"memory{turns}-{number}.db", folder / f"bare{turns}-{number}.db"
        with Registry.open(path) as registry:
            owners = [speaker_id_of(registry, f"Citizen {one}") for one in range(4)]
            draw = np.random.default_rng(number)
            recorded = {
                f"c{one}": conversation(f"c{one}", owners, turns, width, draw) for one in range(conversations)
            }
            warm_up = {"warm": conversation("warm", owners, turns, width, draw)}  # compiles the statements
            record_all(registry, warm_up, width)
            seconds = timed(
                lambda registry=registry, recorded=recorded: record_all(registry, recorded, width)
            )
            rates["memory"].append(turns * conversations / seconds)
            heads, rows = stored_rows(registry)
            copy_without_rows(registry, bare)
        seconds = timed(
            lambda bare=bare, heads=heads[1:], rows=rows[turns:]: insert_bare(bare, heads, rows, turns)
        )
        rates["bare"].append(turns * conversations / seconds)
    medians = {name: float(np.median(values)) for name, values in rates.items()}
    return {
        "memory_per_s": medians["memory"],
        "bare_sqlite_per_s": medians["bare"],
        "ratio": medians["memory"] / medians["bare"],
    }


def record_all(registry: Registry, conversations: Mapping[str, Sequence[Observation]], width: int) -> None:
    """Record conversations, one transaction each."""
    for name, observations in conversations.items():
        registry.record(name, observations, embedder=Embedder("bench", "1", width))


def stored_rows(registry: Registry) -> tuple[list[tuple[Any, ...]], list[tuple[Any, ...]]]:
    """Return the rows of the conversations and of the observations, in the order of recording."""
    with registry._session.store.read() as connection:
        heads = connection.execute(CONVERSATIONS.select().order_by(CONVERSATIONS.c.sequence))
        rows = connection.execute(OBSERVATIONS.select().order_by(OBSERVATIONS.c.observation))
        return [tuple(row) for row in heads], [tuple(row) for row in rows]


def copy_without_rows(registry: Registry, path: Path) -> None:
    """Copy the store to `path` with its tables, indexes and speakers, without conversations."""
    with registry._session.store.bare() as connection:
        connection.exec_driver_sql(f"VACUUM INTO '{path}'")
    with sqlite3.connect(path) as copy:
        copy.execute("DELETE FROM observations")
        copy.execute("DELETE FROM conversations")
    copy.close()


def insert_bare(
    path: Path, heads: Sequence[tuple[Any, ...]], rows: Sequence[tuple[Any, ...]], turns: int
) -> None:
    """Insert the same rows with the standard library alone."""
    connection = sqlite3.connect(path, isolation_level=None)
    for pragma in (
        "journal_mode = WAL",
        "synchronous = FULL",
        "foreign_keys = ON",
        "secure_delete = ON",
        "temp_store = MEMORY",
    ):
        connection.execute(f"PRAGMA {pragma}")
    head = f"INSERT INTO conversations VALUES ({', '.join('?' * len(heads[0]))})"
    row = f"INSERT INTO observations VALUES ({', '.join('?' * len(rows[0]))})"
    for number, conversation_head in enumerate(heads):
        connection.execute("BEGIN IMMEDIATE")
        connection.execute(head, conversation_head)
        connection.executemany(row, rows[number * turns : (number + 1) * turns])
        connection.execute("COMMIT")
    connection.close()


def fill(registry: Registry, have: int, want: int, width: int, draw: np.random.Generator) -> None:
    """Grow the memory from `have` to `want` observations.

    Each conversation has 10 speakers with 10 turns each; each speaker has 10 conversations.
    """
    block = 10 * TURNS_PER_SPEAKER
    for start in range(have, want, block):
        owners = [speaker_id_of(registry, f"Citizen {start + one}") for one in range(10)]
        for number in range(10):
            name = f"conversation{start}-{number}"
            registry.record(
                name,
                conversation(name, owners, block // 10, width, draw),
                embedder=Embedder("bench", "1", width),
            )


def lookups(
    registry: Registry, size: int, width: int, repeats: int, draw: np.random.Generator
) -> dict[str, float]:
    """Time a rebuild, `context`, `recall` within a speaker and across all, and a FAISS flat search."""
    people = [
        registry.find(f"Citizen {start + 3}").speaker_id for start in range(0, size, 10 * TURNS_PER_SPEAKER)
    ]
    asked = [people[number] for number in draw.integers(len(people), size=repeats)]
    queries = draw.standard_normal((repeats, width))
    figures: dict[str, float] = {"observations": size}
    before = time.process_time()
    figures["rebuild_s"] = timed(registry.rebuild)
    figures["rebuild_cpu_s"] = time.process_time() - before
    figures["rebuild_s_per_million"] = figures["rebuild_s"] * 1e6 / size
    for number in range(3):  # compiles the statements
        registry.context(asked[number], before=END)
        registry.recall(queries[number], speaker=asked[number], before=END, k=10)
    calls: dict[str, tuple[Callable[[int], Any], int]] = {
        "context": (lambda number: registry.context(asked[number], before=END), repeats),
        "recall": (
            lambda number: registry.recall(queries[number], speaker=asked[number], before=END, k=10),
            repeats,
        ),
        "recall_across": (
            lambda number: registry.recall(queries[number], speaker=None, before=END, k=10),
            10,
        ),
        "flat_over_all": (lambda number: flat(registry, queries[number]), 10),
    }
    for name, (call, count) in calls.items():
        figures |= {f"{name}_{what}": value for what, value in percentiles(call, count).items()}
    figures["flat_over_recall"] = figures["flat_over_all_p50_ms"] / figures["recall_p50_ms"]
    figures["flat_over_recall_cpu"] = figures["flat_over_all_cpu_p50_ms"] / figures["recall_cpu_p50_ms"]
    return {name: round(value, 3) for name, value in figures.items()}


def flat(registry: Registry, query: np.ndarray) -> None:
    """Search every row of the memory with FAISS."""
    index = registry._session.search._index
    assert index is not None
    index._faiss.search(unit(query[None, :]), 10)


def main() -> None:
    """Measure, and print one JSON object per line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--sizes", type=int, nargs="+", default=[10_000, 100_000, 1_000_000])
    parser.add_argument("--width", type=int, default=384)
    parser.add_argument(
        "--turns",
        type=int,
        nargs="*",
        default=[20, 100],
        help="turns per transaction in the intake comparison",
    )
    parser.add_argument("--repeats", type=int, default=500)
    arguments = parser.parse_args()
    draw = np.random.default_rng(0)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for turns in arguments.turns:
            figures = intake(folder, width=arguments.width, turns=turns, conversations=max(20, 4000 // turns))
            print(json.dumps({"bench": "intake", "turns": turns} | figures), flush=True)
        for old in folder.iterdir():
            old.unlink()
        with Registry.open(folder / "speakers.db") as registry:
            have = 0
            for size in sorted(arguments.sizes):
                fill(registry, have, size, arguments.width, draw)
                have = size
                print(
                    json.dumps(
                        {"bench": "lookup"}
                        | lookups(registry, size, arguments.width, arguments.repeats, draw)
                    ),
                    flush=True,
                )


if __name__ == "__main__":
    main()
