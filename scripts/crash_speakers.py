"""Checks that the speaker memory loses nothing it acknowledged when its processes are killed.

    python scripts/crash_speakers.py [--runs 500] [--seed 0] [--stores 10] [--seconds S]

Each run starts two processes on one store. They record conversations, rename, merge, undo, forget and rebuild
the index, and report every acknowledged transaction over a pipe. Both are killed (SIGKILL) at a random time.
Then the store is reopened and checked: acknowledged observations are there, conversations are complete or
absent, no observation is stored twice, forgotten speakers are gone, and the vector index agrees with the
rows. Prints a JSON object with the number of runs and problems; exits with 1 if there is a problem.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import random
import sys
import tempfile
import time
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np

from speakers import END, Embedder, Observation, Registry
from speakers.store.tables import OBSERVATIONS

EMBEDDER = Embedder("crash", "1", 16)
TURNS = 6


def write(path: str, worker: str, seed: int, report: Connection) -> None:
    """Write to the store until killed; report acknowledged changes as (kind, conversation or name)."""
    try:
        _write(path, worker, seed, report)
    except Exception as error:
        report.send(("failed", f"{type(error).__name__}: {error}"))


def _write(path: str, worker: str, seed: int, report: Connection) -> None:
    draw = random.Random(seed)
    vectors = np.random.default_rng((seed, ord(worker)))
    with Registry.open(path) as registry:
        report.send(("open", ""))
        for number in range(10_000):
            conversation = f"{worker}-{seed}-{number}"
            passing = f"Passing {worker} {seed} {number}"
            found = [
                registry.resolve(name, conversation_id=conversation).speaker
                for name in ("Ana", "Bo", passing)
            ]
            owners = [one.speaker_id for one in found if one is not None]
            observations = [
                Observation(
                    owners[index % len(owners)], conversation, f"{conversation}-{index}", index,
                    text=f"{conversation} says {index}", weights={"joy": 0.5},
                    vector=vectors.standard_normal(16).astype(np.float32),
                )
                for index in range(TURNS)
            ]  # fmt: skip
            registry.record(conversation, observations, embedder=EMBEDDER)
            report.send(("recorded", conversation))
            chance = draw.random()
            if chance < 0.1:
                registry.forget(passing)
                report.send(("forgotten", passing))
            elif chance < 0.2:
                registry.undo(registry.merge(passing, "Ana"))
            elif chance < 0.3:
                registry.rename(passing, f"{passing} again")
            elif chance < 0.4:
                registry.rebuild()


def run(path: Path, seed: int, context: Any) -> dict[str, set[str]]:
    """Start two writers, kill them, and return what they reported, by kind."""
    draw = random.Random(seed)
    acknowledged: dict[str, set[str]] = {
        "open": set(),
        "recorded": set(),
        "forgotten": set(),
        "failed": set(),
    }
    pipes, processes = [], []
    for worker in ("a", "b"):
        receive, send = context.Pipe(duplex=False)
        process = context.Process(target=write, args=(str(path), worker, seed, send), daemon=True)
        process.start()
        send.close()
        pipes.append(receive)
        processes.append(process)
    pipes[0].poll(30)
    time.sleep(draw.uniform(0.0, 0.3))
    for process in processes:
        process.kill()
    for process, receive in zip(processes, pipes, strict=True):
        process.join()
        try:
            while True:
                what, name = receive.recv()
                acknowledged[what].add(name)
        except (EOFError, OSError):
            receive.close()
    return acknowledged


def check(path: Path, acknowledged: dict[str, set[str]]) -> list[str]:
    """List what is wrong with the store after a run."""
    wrong = [f"a writer failed: {failure}" for failure in acknowledged["failed"]]
    with Registry.open(path) as registry:
        with registry._session.store.read() as connection:
            verdict = connection.exec_driver_sql("PRAGMA integrity_check").scalar()
            broken = connection.exec_driver_sql("PRAGMA foreign_key_check").all()
            rows = connection.execute(OBSERVATIONS.select()).all()
            pending = connection.exec_driver_sql("SELECT count(*) FROM erasures").scalar()
        if verdict != "ok" or broken or pending:
            wrong.append(f"integrity {verdict}, foreign keys {broken}, erasures left {pending}")
        keys = {(row.conversation_id, row.utterance_id) for row in rows}
        if len(keys) != len(rows):
            wrong.append(f"{len(rows) - len(keys)} observations are stored twice")
        sizes: dict[str, int] = {}
        for conversation, _ in keys:
            sizes[conversation] = sizes.get(conversation, 0) + 1
        complete = (TURNS, TURNS - TURNS // 3)  # one of three speakers may be forgotten
        for conversation in acknowledged["recorded"]:
            if sizes.get(conversation, 0) not in complete:
                wrong.append(
                    f"{conversation}: acknowledged, but {sizes.get(conversation, 0)} of {TURNS} turns"
                )
        wrong += [f"{name}: {size} of {TURNS} turns" for name, size in sizes.items() if size not in complete]
        for name in acknowledged["forgotten"]:
            if not registry.resolve(name, conversation_id="check").erased:
                wrong.append(f"{name}: was forgotten but is known again")
        wrong += _index_and_rows(registry, rows)
    return wrong


def _index_and_rows(registry: Registry, rows: Any) -> list[str]:
    """Compare the vector index with an exact scan of the rows."""
    if not rows:
        return []
    query = np.arange(1.0, 17.0)
    matrix = np.stack([np.frombuffer(row.vector, "<f4") for row in rows]).astype(np.float64)
    scores = matrix @ query / (np.linalg.norm(matrix, axis=1) * np.linalg.norm(query))
    best = {rows[position].utterance_id for position in np.argsort(-scores)[:5]}
    found = {
        hit.observation.utterance_id
        for hit in registry.recall(query, speaker=None, before=END, k=5).observations
    }
    return [] if found == best else [f"the index gives {sorted(found)}, the rows give {sorted(best)}"]


def main() -> int:
    """Run, report, and return the exit code."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--runs", type=int, default=500)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--stores", type=int, default=10, help="runs per store (default: 10)")
    parser.add_argument(
        "--seconds", type=float, default=float("inf"), help="start no further run after this time"
    )
    arguments = parser.parse_args()
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["speakers", "faiss"])
    acknowledged_total, problems, done, started = 0, 0, 0, time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        past: dict[str, set[str]] = {}
        for number in range(arguments.runs):
            if time.monotonic() - started > arguments.seconds:
                break
            path = Path(folder) / f"{number // arguments.stores}.db"
            if number % arguments.stores == 0:
                past = {"open": set(), "recorded": set(), "forgotten": set(), "failed": set()}
            for what, names in run(path, arguments.seed + number, context).items():
                past[what] |= names
                acknowledged_total += len(names) if what == "recorded" else 0
            for problem in check(path, past):
                problems += 1
                print(f"run {number}: {problem}", file=sys.stderr, flush=True)
            done += 1
    figures = {
        "runs": done, "conversations_acknowledged": acknowledged_total, "problems": problems,
        "seconds": round(time.monotonic() - started, 1),
    }  # fmt: skip
    print(json.dumps(figures))
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
