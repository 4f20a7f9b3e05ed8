"""`erc train`: trains one configuration into a model folder."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from erc.cli.console import progress_bar, stderr, stdout, tell

if TYPE_CHECKING:
    from erc.config import ExperimentConfig
    from erc.training.dry_run import Plan


def train(
    config: Annotated[Path, typer.Argument(help="A YAML file, or the name of a shipped configuration.")],
    overrides: Annotated[
        list[str] | None,
        typer.Argument(help="Changes, as optim.epochs=1 data.root=corpora.", show_default=False),
    ] = None,
    run: Annotated[Path | None, typer.Option("--run", help="Run folder; default runs/NAME.")] = None,
    fresh: Annotated[
        bool, typer.Option("--fresh", help="Start again instead of resuming from the last checkpoint.")
    ] = False,
    server: Annotated[
        str | None,
        typer.Option(
            "--server",
            help=(
                "Base URL (ending in /v1) of a server whose model (llm.writer) writes the texts that a "
                "recipe learns from."
            ),
        ),
    ] = None,
    quiet: Annotated[bool, typer.Option("--quiet", help="No progress bar.")] = False,
    dry_run: Annotated[
        bool,
        typer.Option(
            "--dry-run", help="Print the resolved configuration and what training would take; train nothing."
        ),
    ] = False,
) -> None:
    """Train what CONFIG describes; an interrupted run resumes from its last checkpoint."""
    from erc.api.training import find_config
    from erc.config import load_config
    from erc.memory.training_inputs import input_maker, refuse_idle_server
    from erc.persistence.layout import read_json
    from erc.training.experiment import run_experiment
    from erc.training.loop import distributed as processes

    experiment = load_config(find_config(config), overrides or [])
    refuse_idle_server(experiment, server)
    if dry_run:
        _show(experiment)
        return
    run_dir = run or Path("runs") / experiment.name
    with input_maker(
        experiment, run_dir.parent / "inputs", server=server, progress=progress_bar, note=tell
    ) as inputs:
        artefact = run_experiment(experiment, run_dir, resume=not fresh, progress=not quiet, inputs=inputs)
    if processes.is_main():
        for folder in sorted(artefact.iterdir()) if experiment.task == "multitask" else [artefact]:
            name = f"llm:{folder}" if experiment.task == "llm" else folder
            stderr.print(
                f"the model lies in {folder}; use it with --model {name}", highlight=False, soft_wrap=True
            )
        if experiment.task == "multitask":
            _tell_leaks(read_json(run_dir / "leaks.json"), experiment)
    processes.leave()


def _tell_leaks(kept: dict[str, Any], experiment: ExperimentConfig) -> None:
    """Reports which leaks between corpora were not filtered."""
    if not kept["tests_known"]:
        stderr.print(
            "note: the data folder has no heldout_hashes.json, so test turns were not removed from training",
            soft_wrap=True,
        )
    if not kept["start_filtered"]:
        start = (
            f"note: the initial model {experiment.artefact.init_from} was trained before: its training data "
            "was not filtered"
        )
        tell(start)


def _show(experiment: ExperimentConfig) -> None:
    """Prints the resolved configuration to standard output, the estimate to standard error."""
    from erc.training.dry_run import plan_training

    stdout.print(experiment.to_yaml(), end="", markup=False, highlight=False, soft_wrap=True)
    _print_plan(plan_training(experiment))


def _print_plan(plan: Plan) -> None:
    from dataclasses import asdict

    from rich.table import Table

    tell(plan.summary)
    if plan.note is not None:
        tell(f"note: {plan.note}")
    if plan.memory is None:
        return
    table = Table("memory", "GiB", title=f"estimate at {plan.precision}")
    for purpose, size in {**asdict(plan.memory), "total": plan.memory.total}.items():
        table.add_row(purpose, f"{size / 2**30:.2f}", end_section=purpose == "cache")
    stderr.print(table)
