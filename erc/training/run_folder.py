"""The folder of a run: which of its checkpoints can be gone on from, and what a fresh start takes away."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping
from pathlib import Path

from safetensors.torch import save_file
from torch import Tensor
from transformers.trainer import TRAINER_STATE_NAME

SETTINGS_FILE = "settings.json"
METRICS_FILE = "metrics.jsonl"
EMA_FILE = "ema.safetensors"
BEST_WEIGHTS = "best.safetensors"
BEST_RECORD = "best.json"


def save_whole(tensors: Mapping[str, Tensor], path: Path) -> None:
    """Writes safetensors so that a kill leaves the old file or the new one, never half of one."""
    temporary = path.with_name(path.name + ".part")
    save_file(dict(tensors), temporary)
    os.replace(temporary, path)


def last_checkpoint(run_dir: Path, *, averaged: bool) -> Path | None:
    """The latest checkpoint that was written to its end, or None.

    The library writes the trainer's state last, and the average follows it; a kill in between leaves a folder without them.
    """
    needed = (TRAINER_STATE_NAME, EMA_FILE) if averaged else (TRAINER_STATE_NAME,)
    whole = [path for path in _checkpoints(run_dir) if all((path / name).is_file() for name in needed)]
    return max(whole, key=_step, default=None)


def prepare(run_dir: Path, checkpoint: Path | None) -> None:
    """Takes away what a run that goes on from `checkpoint` (None: from the start) will write again."""
    step = 0 if checkpoint is None else _step(checkpoint)
    for path in _checkpoints(run_dir):
        if checkpoint is None or _step(path) > step:
            shutil.rmtree(path)
    if checkpoint is None:
        for name in (METRICS_FILE, BEST_RECORD, BEST_WEIGHTS):
            (run_dir / name).unlink(missing_ok=True)
    elif (run_dir / METRICS_FILE).exists():
        lines = (run_dir / METRICS_FILE).read_text(encoding="utf-8").splitlines(keepends=True)
        kept = [line for line in lines if line.endswith("\n") and json.loads(line)["step"] <= step]
        (run_dir / METRICS_FILE).write_text("".join(kept), encoding="utf-8")


def _checkpoints(run_dir: Path) -> list[Path]:
    return [path for path in run_dir.glob("checkpoint-*") if path.is_dir() and path.name.rpartition("-")[2].isdigit()]


def _step(checkpoint: Path) -> int:
    return int(checkpoint.name.rpartition("-")[2])
