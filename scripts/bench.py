"""Runs every benchmark beside this file, each in a process of its own.

python scripts/bench.py [NAME ...]     NAME is throughput, sampling, utilisation, memory, ...
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent


def main() -> int:
    """Runs the named benchmarks, or all; returns how many failed."""
    there = {
        path.stem.removeprefix("bench_"): path
        for path in sorted(HERE.glob("bench_*.py"))
        if path.stem != "bench_common"
    }
    wanted = sys.argv[1:] or list(there)
    unknown = sorted(set(wanted) - set(there))
    if unknown:
        print(f"no benchmark {', '.join(unknown)}; there are {', '.join(there)}", file=sys.stderr)
        return 2
    failed = 0
    for name in wanted:
        print(f"\n=== {name}", flush=True)
        failed += subprocess.run([sys.executable, str(there[name])], check=False).returncode != 0
    return failed


if __name__ == "__main__":
    sys.exit(main())
