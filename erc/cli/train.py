"""`erc train`: one configuration, one run folder, one artefact."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from erc.cli.console import stderr
from erc.errors import ConfigError


def train(
    config: Annotated[Path, typer.Argument(help="A YAML file, or the name of a shipped configuration.")],
    overrides: Annotated[list[str] | None, typer.Argument(help="Changes, as optim.epochs=1 data.root=corpora.", show_default=False)] = None,
    run: Annotated[Path | None, typer.Option("--run", help="Run folder; default runs/NAME.")] = None,
    fresh: Annotated[bool, typer.Option("--fresh", help="Start again instead of going on from the last checkpoint.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", help="No progress bar.")] = False,
) -> None:
    """Train what CONFIG describes; a run that was interrupted goes on where it stopped."""
    from erc.config import load_config
    from erc.training.experiment import run_experiment

    experiment = load_config(_find(config), overrides or [])
    run_dir = run or Path("runs") / experiment.name
    artefact = run_experiment(experiment, run_dir, resume=not fresh, progress=not quiet)
    stderr.print(f"the model lies in {artefact}; use it with --model {artefact}", highlight=False)


def _find(config: Path) -> Path:
    """The file itself, or the shipped configuration of that name."""
    from erc.resources import resource_dir

    if config.is_file():
        return config
    shipped = resource_dir("configs") / (config.name if config.suffix else f"{config.name}.yaml")
    if shipped.is_file():
        return shipped
    names = ", ".join(sorted(path.stem for path in resource_dir("configs").glob("*.yaml")))
    raise ConfigError(f"{config}: there is no such configuration file; shipped ones are {names}")
