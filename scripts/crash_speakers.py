"""Kill -9 two writing processes at random, over and over, and check that the speaker memory lost nothing it acknowledged.

    python scripts/crash_speakers.py --runs 500

Each run: two processes record conversations, rename, merge, undo, forget and rebuild the index in one store
and report every acknowledged transaction over a pipe; both are killed after a random time. Then the store is
reopened: acknowledged observations are there, conversations are whole or absent, nothing stands twice, the
forgotten are gone, and the index answers as the rows do.
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
    """Work on the store until killed, reporting what was acknowledged as (what, conversation or name)."""
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
            talk = f"{worker}-{seed}-{number}"
            passing = f"Passing {worker} {seed} {number}"
            found = [registry.resolve(name, conversation_id=talk).speaker for name in ("Ana", "Bo", passing)]
            owners = [one.speaker_id for one in found if one is not None]
            lines = [
                Observation(
                    owners[index % len(owners)], talk, f"{talk}-{index}", index, text=f"{talk} says {index}", weights={"joy": 0.5},
                    vector=vectors.standard_normal(16).astype(np.float32),
                )
                for index in range(TURNS)
            ]  # fmt: skip
            registry.record(talk, lines, embedder=EMBEDDER)
            report.send(("recorded", talk))
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
    """One run: start, kill, and return what was acknowledged."""
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
    """What is wrong with the store after a run; empty when all is well."""
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
            wrong.append(f"{len(rows) - len(keys)} observations stand twice")
        sizes: dict[str, int] = {}
        for conversation, _ in keys:
            sizes[conversation] = sizes.get(conversation, 0) + 1
        for talk in acknowledged["recorded"]:
            if sizes.get(talk, 0) not in (
                TURNS,
                TURNS - TURNS // 3,
            ):  # whole, or without the third of a forgotten speaker
                wrong.append(f"{talk}: acknowledged, and {sizes.get(talk, 0)} of {TURNS} turns are there")
        wrong += [
            f"{talk}: {size} of {TURNS} turns"
            for talk, size in sizes.items()
            if size not in (TURNS, TURNS - TURNS // 3)
        ]
        for name in acknowledged["forgotten"]:
            if not registry.resolve(name, conversation_id="check").erased:
                wrong.append(f"{name}: forgotten, and known again")
        wrong += _index_and_rows(registry, rows)
    return wrong


def _index_and_rows(registry: Registry, rows: Any) -> list[str]:
    """The index, from its file where that holds, against a plain scan of the rows."""
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
    return [] if found == best else [f"the index answers {sorted(found)}, the rows say {sorted(best)}"]


def main() -> int:
    """Run, report, and return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--runs", type=int, default=500)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--stores", type=int, default=10, help="begin a new store after so many runs")
    parser.add_argument(
        "--seconds", type=float, default=float("inf"), help="begin no further run after so long"
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
