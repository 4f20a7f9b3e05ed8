"""The folder of a run: finds the resumable checkpoint, and deletes what the run will write again."""

from __future__ import annotations

import json
import shutil
from dataclasses import asdict
from pathlib import Path

from erc.errors import ConfigError
from erc.llm.base.four_bit import without_bitsandbytes
from erc.training.loop.settings import OptimSettings

with without_bitsandbytes():  # the Trainer imports PEFT, and PEFT imports bitsandbytes
    from transformers.trainer import TRAINER_STATE_NAME

SETTINGS_FILE = "settings.json"
METRICS_FILE = "metrics.jsonl"
EMA_FILE = "ema.safetensors"
BEST_WEIGHTS = "best.safetensors"
BEST_RECORD = "best.json"


def begin(run_dir: Path, optim: OptimSettings, *, processes: int, resume: bool) -> Path | None:
    """Prepares the folder for a run and returns the checkpoint to resume from, or None to start from scratch.

    Raises:
        ConfigError: If the run was started with another number of processes, so its steps would differ.
    """
    run_dir.mkdir(parents=True, exist_ok=True)
    begun = _processes_of(run_dir / SETTINGS_FILE)
    if resume and begun not in (None, processes) and _checkpoints(run_dir):
        raise ConfigError(
            f"the run in {run_dir} was started with {begun} process(es), now there are {processes}: "
            f"start {begun}, or train with --fresh"
        )
    checkpoint = (
        last_checkpoint(run_dir, averaged=optim.ema_decay is not None, processes=processes)
        if resume
        else None
    )
    prepare(run_dir, checkpoint)
    settings = {**asdict(optim), "processes": processes}
    (run_dir / SETTINGS_FILE).write_text(json.dumps(settings, indent=2) + "\n", encoding="utf-8")
    return checkpoint


def _processes_of(settings: Path) -> int | None:
    """The number of processes in a run's settings, or None if it is not recorded."""
    try:
        return int(json.loads(settings.read_text(encoding="utf-8"))["processes"])
    except (OSError, ValueError, KeyError):
        return None


def last_checkpoint(run_dir: Path, *, averaged: bool, processes: int = 1) -> Path | None:
    """The latest complete checkpoint, or None.

    The library writes the trainer's state last, and the weight average is written after it. So a checkpoint
    whose process was killed lacks one of them. With several processes, each also writes the state of its
    random numbers.
    """
    states = [f"rng_state_{number}.pth" for number in range(processes)] if processes > 1 else []
    needed = [TRAINER_STATE_NAME, *([EMA_FILE] if averaged else []), *states]
    whole = [path for path in _checkpoints(run_dir) if all((path / name).is_file() for name in needed)]
    return max(whole, key=_step, default=None)


def prepare(run_dir: Path, checkpoint: Path | None) -> None:
    """Deletes what a run that resumes from `checkpoint` will write again; None deletes everything."""
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
    return [
        path
        for path in run_dir.glob("checkpoint-*")
        if path.is_dir() and path.name.rpartition("-")[2].isdigit()
    ]


def _step(checkpoint: Path) -> int:
    return int(checkpoint.name.rpartition("-")[2])
