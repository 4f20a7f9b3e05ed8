"""Runs the stages of a recipe in order, and resumes a run in the stage that was interrupted.

A finished stage writes its weights and a record into its folder. A resumed run loads them and does not make
the stage's examples again. An interrupted stage resumes from its last complete checkpoint.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import torch
from torch import nn

from erc.errors import ArtefactError
from erc.files import load_record, load_whole, save_record, save_whole
from erc.llm.recipes import Stage
from erc.training.llm.task import LlmTask
from erc.training.loop.distributed import on_main
from erc.training.loop.settings import OptimSettings
from erc.training.loop.trainer import train

WEIGHTS = "stage.safetensors"
RECORD = "finished.json"


def run_stages(
    model: nn.Module,
    stages: Sequence[Stage],
    *,
    run_dir: Path,
    task_of: Callable[[Stage], LlmTask],
    optim_of: Callable[[Stage], OptimSettings],
    resume: bool,
    progress: bool,
) -> dict[str, float]:
    """Trains `model` stage by stage, each in the folder of its name; returns the dev figures of the last.

    `task_of` makes a stage's examples and is called only for stages that are trained. Without `resume`,
    results of an earlier run are ignored.

    Raises:
        ConfigError: If a run is resumed with another number of processes.
        ArtefactError: If a finished stage is damaged or has the weights of another adapter.
    """
    done = on_main(lambda: _finished(run_dir, stages, resume=resume))
    figures: dict[str, float] = {}
    if done:
        figures = _restore(model, run_dir / stages[done - 1].name)
    for stage in stages[done:]:
        folder = run_dir / stage.name
        figures = train(
            model=model,
            task=task_of(stage),
            optim=optim_of(stage),
            run_dir=folder,
            resume=resume,
            progress=progress,
        )
        on_main(partial(_keep, model, folder, figures))
    return figures


def _finished(run_dir: Path, stages: Sequence[Stage], *, resume: bool) -> int:
    """The number of finished stages at the beginning; without `resume` their records are deleted."""
    if not resume:
        for stage in stages:
            (run_dir / stage.name / RECORD).unlink(missing_ok=True)
    for number, stage in enumerate(stages):
        if not (run_dir / stage.name / RECORD).is_file():
            return number
    return len(stages)


def _keep(model: nn.Module, folder: Path, figures: dict[str, float]) -> None:
    """Writes a stage's weights, then the record that marks them as complete."""
    trained = {
        name: value.detach().cpu().contiguous().clone()
        for name, value in model.named_parameters()
        if value.requires_grad
    }
    save_whole(trained, folder / WEIGHTS)
    save_record({"figures": figures}, folder / RECORD)


@torch.no_grad()
def _restore(model: nn.Module, folder: Path) -> dict[str, float]:
    """Loads a finished stage's weights into the model and returns its figures.

    Raises:
        ArtefactError: If the files are damaged, or the weights are those of another adapter.
    """
    parameters = {name: value for name, value in model.named_parameters() if value.requires_grad}
    weights, figures = load_whole(folder / WEIGHTS), load_record(folder / RECORD).get("figures")
    if {name: value.shape for name, value in weights.items()} != {
        name: value.shape for name, value in parameters.items()
    }:
        raise ArtefactError(
            f"the finished stage in {folder} has the weights of another adapter: train again with --fresh"
        )
    if not isinstance(figures, dict):
        raise ArtefactError(
            f"{folder / RECORD} holds no figures of the finished stage: train again with --fresh"
        )
    for name, value in weights.items():
        parameters[name].copy_(value)
    return figures
