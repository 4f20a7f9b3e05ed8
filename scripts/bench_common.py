"""What the benchmarks share: texts, models, timing by interleaved repeats, plain tables.

A benchmark prints ratios against a baseline measured in the same run: seconds alone say more of a machine
than of a program.
"""

from __future__ import annotations

import argparse
import os
import platform
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from erc.data import Conversation
    from erc.inference.predictor import Predictor

EXAMPLES = Path(__file__).resolve().parent.parent / "examples"


def arguments(
    description: str | None, *, model: str = "goemotions-minilm", **numbers: int
) -> argparse.Namespace:
    """The command line of a benchmark: `--model` and whole numbers with their defaults. Sets the environment torch reads on import."""
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    for name in ("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "LRU_CACHE_CAPACITY"):  # as the command sets them
        os.environ.setdefault(name, "64")
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--model", default=model, help=f"name or folder of a model ({model})")
    for name, default in numbers.items():
        parser.add_argument(f"--{name}", type=int, default=default, help=f"({default:,})")
    return parser.parse_args()


def predictor(model: str, uncertainty: str = "default", precision: str = "auto") -> Predictor:
    """A Predictor as the command makes it."""
    from erc.inference.loading import load_predictor
    from erc.inference.scorers.settings import InferenceSettings

    return load_predictor(model, settings=InferenceSettings(uncertainty=uncertainty, precision=precision))  # type: ignore[arg-type]


def conversations() -> tuple[str, list[Conversation]]:
    """What is labelled, by name: the dialogues of MELD dev, or where the corpus is absent those of `examples/`, many times over."""
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
    """Every text in reading order."""
    return [utterance.text for conversation in dialogues for utterance in conversation]


def interleaved(candidates: Mapping[str, Callable[[], object]], repeats: int) -> dict[str, float]:
    """Median seconds of each candidate; round after round, so that a slow minute of the machine falls on all of them."""
    seconds: dict[str, list[float]] = {name: [] for name in candidates}
    for _ in range(repeats):
        for name, candidate in candidates.items():
            started = time.perf_counter()
            candidate()
            seconds[name].append(time.perf_counter() - started)
    return {name: statistics.median(values) for name, values in seconds.items()}


def print_machine() -> None:
    """One line of facts about the machine and the libraries."""
    import torch
    import transformers

    from erc.models.encoder.precision import resolve_precision

    load = os.getloadavg()[0] if hasattr(os, "getloadavg") else float("nan")
    print(
        f"machine: {_processor()}, {os.cpu_count()} cores, {torch.get_num_threads()} threads, load {load:.1f}, {resolve_precision('auto')}; "
        f"torch {torch.__version__}, transformers {transformers.__version__}, python {platform.python_version()}"
    )


def print_table(title: str, headers: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """A table in plain text: the first column to the left, the others to the right."""
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
    """Prints whether `value` meets its target."""
    met = (least is None or value >= least) and (most is None or value <= most)
    wanted = f"at least {least:g}{unit}" if least is not None else f"at most {most:g}{unit}"
    print(f"{'met   ' if met else 'MISSED'}  {name}: {value:.2f}{unit}, wanted {wanted}", flush=True)


def _processor() -> str:
    information = Path("/proc/cpuinfo")
    names = information.read_text(encoding="utf-8").splitlines() if information.is_file() else []
    return next(
        (line.partition(":")[2].strip() for line in names if line.startswith("model name")),
        platform.processor() or platform.machine(),
    )
