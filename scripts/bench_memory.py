"""Measures memory while a long stream of turns is labelled, and for single long conversations.

    python scripts/bench_memory.py [--model NAME] [--turns N]

First labels a stream of short conversations and prints resident memory after each tenth of it. Memory should
not grow. Then runs `erc label` on files with one conversation each, which is held in memory as a whole, and
prints peak memory by length.
"""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from bench_common import arguments, conversations, predictor, print_machine, print_table, texts_of, verdict

TURNS_PER_CONVERSATION = 12
POINTS = 10
LONG = (1_000, 5_000, 20_000)


def main() -> None:
    """Print resident memory along the stream, and its growth since the first tenth."""
    options = arguments(__doc__, turns=100_000)
    from erc.transcripts import iter_conversations, open_writer

    labeller = predictor(options.model)
    print_machine()
    rows, sizes, done = [], [], 0
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder) / "stream.jsonl"
        write_stream(source, options.turns)
        started = time.perf_counter()
        with open_writer(Path(folder) / "labelled.jsonl") as writer:
            for labelled in labeller.stream(iter_conversations(source)):
                for prediction in labelled.predictions:
                    writer.write(prediction.to_record())
                done += len(labelled.predictions)
                if done >= (len(rows) + 1) * options.turns // POINTS:
                    sizes.append(resident_mib())
                    rows.append(
                        [f"{done:,}", f"{sizes[-1]:,.0f}", f"{done / (time.perf_counter() - started):,.0f}"]
                    )
    print_table(
        f"{options.turns:,} turns, JSON Lines to JSON Lines", ["turns", "resident MiB", "turns/s"], rows
    )
    verdict("memory at the end, against memory after a tenth", sizes[-1] / sizes[0], most=1.05)
    long_conversations(options.model)


def long_conversations(model: str) -> None:
    """Print peak memory of `erc label` for one conversation of each length, and the memory per turn."""
    rows, peaks = [], []
    with tempfile.TemporaryDirectory() as folder:
        source, result = Path(folder) / "long.jsonl", Path(folder) / "labelled.jsonl"
        for turns in LONG:
            write_stream(source, turns, of=turns)
            command = [
                sys.executable,
                "-m",
                "erc.cli",
                "label",
                str(source),
                "-o",
                str(result),
                "--model",
                model,
            ]
            subprocess.run(command, check=True, capture_output=True)
            peaks.append(peak_mib(resource.RUSAGE_CHILDREN))
            rows.append([f"{turns:,}", f"{peaks[-1]:,.0f}"])
    print_table("one conversation, labelled by the command", ["turns", "peak MiB"], rows)
    print(f"  {1024 * (peaks[-1] - peaks[0]) / (LONG[-1] - LONG[0]):.0f} KiB per turn")


def write_stream(path: Path, turns: int, *, of: int = TURNS_PER_CONVERSATION) -> None:
    """Write JSON Lines with conversations of `of` turns, made of the benchmark's texts."""
    texts = texts_of(conversations()[1])
    with path.open("w", encoding="utf-8") as stream:
        for number in range(turns):
            conversation = f"c{number // of}"
            stream.write(
                json.dumps(
                    {
                        "conversation_id": conversation,
                        "speaker": f"speaker {number % 3}",
                        "text": texts[number % len(texts)],
                    }
                )
                + "\n"
            )


def resident_mib() -> float:
    """Return the resident memory of this process, or its peak where /proc is missing."""
    status = Path("/proc/self/status")
    if status.is_file():
        line = next(
            line for line in status.read_text(encoding="utf-8").splitlines() if line.startswith("VmRSS:")
        )
        return int(line.split()[1]) / 1024
    return peak_mib(resource.RUSAGE_SELF)


def peak_mib(who: int) -> float:
    """Return the peak memory of this process or of its finished children (`resource.RUSAGE_*`)."""
    return resource.getrusage(who).ru_maxrss / (1024 * 1024 if sys.platform == "darwin" else 1024)


if __name__ == "__main__":
    main()
