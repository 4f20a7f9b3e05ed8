"""Shared by the benchmarks: command-line options, texts, models, timing and plain-text tables.

A benchmark prints ratios to a baseline measured in the same run, because absolute seconds depend on the
machine.
"""

from __future__ import annotations

import argparse
import os
import platform
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, TypeVar

if TYPE_CHECKING:
    from erc.data import Conversation
    from erc.inference.predictor import Predictor

T = TypeVar("T")
EXAMPLES = Path(__file__).resolve().parent.parent / "examples"


class Seconds(NamedTuple):
    """Median duration of one call: wall-clock and processor time."""

    clock: float
    processor: float


def set_environment() -> None:
    """Set the variables that torch and transformers read on import, as the command `erc` sets them."""
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    for name in ("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "LRU_CACHE_CAPACITY"):
        os.environ.setdefault(name, "64")


def arguments(
    description: str | None, *, model: str = "goemotions-minilm", **numbers: int
) -> argparse.Namespace:
    """Parse `--model` and one integer option for each of `numbers`, which gives the defaults.

    Also calls `set_environment`, so call this before importing torch.
    """
    set_environment()
    parser = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", default=model, help=f"name or folder of a model (default: {model})")
    for name, default in numbers.items():
        parser.add_argument(f"--{name}", type=int, default=default, help=f"default: {default:,}")
    return parser.parse_args()


def predictor(model: str, uncertainty: str = "default", precision: str = "auto") -> Predictor:
    """Load a predictor as the command `erc label` does."""
    from erc.inference.loading import load_predictor
    from erc.inference.scorers.settings import InferenceSettings

    return load_predictor(model, settings=InferenceSettings(uncertainty=uncertainty, precision=precision))  # type: ignore[arg-type]


def conversations() -> tuple[str, list[Conversation]]:
    """Return the name and the conversations of the benchmark data.

    The data is MELD dev, or 20 copies of `examples/` where MELD is not installed.
    """
    from dataclasses import replace

    from erc.data.corpora import load_corpus
    from erc.errors import InputError
    from erc.transcripts import read_transcript

    try:
        return "MELD dev", list(load_corpus("meld", "dev").conversations)
    except InputError:
        found = [
            c
            for path in sorted(EXAMPLES.iterdir())
            if path.suffix != ".md"
            for c in read_transcript(path).conversations
        ]
        return "examples, 20 times", [
            replace(c, conversation_id=f"{c.conversation_id}-{copy}") for copy in range(20) for c in found
        ]


def texts_of(dialogues: Sequence[Conversation]) -> list[str]:
    """Return every text in reading order."""
    return [utterance.text for conversation in dialogues for utterance in conversation]


class Stopwatch:
    """Wall-clock and processor seconds of repeated calls."""

    def __init__(self) -> None:
        self.clock: list[float] = []
        self.processor: list[float] = []

    def time(self, work: Callable[[], T]) -> T:
        """Measure one call and return its result."""
        clock, processor = time.perf_counter(), time.process_time()
        result = work()
        self.clock.append(time.perf_counter() - clock)
        self.processor.append(time.process_time() - processor)
        return result

    def medians(self) -> Seconds:
        """Return the median of both times."""
        return Seconds(statistics.median(self.clock), statistics.median(self.processor))


def interleaved(candidates: Mapping[str, Callable[[], object]], repeats: int) -> dict[str, Seconds]:
    """Time each candidate once per round, so that other load on the machine affects all of them equally."""
    watches = {name: Stopwatch() for name in candidates}
    for _ in range(repeats):
        for name, candidate in candidates.items():
            watches[name].time(candidate)
    return {name: watch.medians() for name, watch in watches.items()}


def print_machine() -> None:
    """Print one line about the machine and the library versions."""
    import torch
    import transformers

    from erc.models.encoder.precision import resolve_precision

    load = os.getloadavg()[0] if hasattr(os, "getloadavg") else float("nan")
    print(
        f"machine: {_processor()}, {os.cpu_count()} cores, {torch.get_num_threads()} threads, "
        f"load {load:.1f}, {resolve_precision('auto')}; torch {torch.__version__}, "
        f"transformers {transformers.__version__}, python {platform.python_version()}"
    )


def print_table(title: str, headers: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print a plain-text table: first column left-aligned, the others right-aligned."""
    widths = [max(len(row[column]) for row in (headers, *rows)) for column in range(len(headers))]
    print(f"\n{title}")
    for row in (headers, ["-" * width for width in widths], *rows):
        print(
            "  ".join(
                cell.rjust(width) if column else cell.ljust(width)
                for column, (cell, width) in enumerate(zip(row, widths, strict=True))
            )
        )


def verdict(
    name: str, value: float, *, least: float | None = None, most: float | None = None, unit: str = "x"
) -> None:
    """Print whether `value` meets its target, which is `least` or `most`."""
    met = (least is None or value >= least) and (most is None or value <= most)
    target = f"at least {least:g}{unit}" if least is not None else f"at most {most:g}{unit}"
    print(f"{'met   ' if met else 'MISSED'}  {name}: {value:.2f}{unit}, target {target}", flush=True)


def _processor() -> str:
    information = Path("/proc/cpuinfo")
    names = information.read_text(encoding="utf-8").splitlines() if information.is_file() else []
    return next(
        (line.partition(":")[2].strip() for line in names if line.startswith("model name")),
        platform.processor() or platform.machine(),
    )
