"""Runs the benchmarks (`scripts/bench_*.py`), each in its own process, and prints their output.

    python scripts/bench.py [NAME ...]

NAME is throughput, sampling, utilisation, memory, speakers, conversations or llm; without names all run.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent


def main() -> int:
    """Run the named benchmarks, or all. Returns the number of failures, or 2 for an unknown name."""
    available = {
        path.stem.removeprefix("bench_"): path
        for path in sorted(HERE.glob("bench_*.py"))
        if path.stem != "bench_common"
    }
    wanted = sys.argv[1:] or list(available)
    unknown = sorted(set(wanted) - set(available))
    if unknown:
        print(f"unknown: {', '.join(unknown)}; available: {', '.join(available)}", file=sys.stderr)
        return 2
    failed = 0
    for name in wanted:
        print(f"\n=== {name}", flush=True)
        failed += subprocess.run([sys.executable, str(available[name])], check=False).returncode != 0
    return failed


if __name__ == "__main__":
    sys.exit(main())
