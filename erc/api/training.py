"""`erc.train`: trains a configuration in a run folder, like the command `erc train`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from erc.config import ExperimentConfig


def train(
    config: str | Path | ExperimentConfig,
    overrides: Sequence[str] = (),
    *,
    run: str | Path | None = None,
    resume: bool = True,
    progress: bool = False,
    server: str | None = None,
    note: Callable[[str], None] = lambda text: None,
) -> Path:
    """Trains the model of a configuration and returns its folder, for `erc.load`.

    For a language model, load the folder as `llm:FOLDER`. For `task: multitask` the folder holds one model
    for each part. An interrupted run resumes from its last checkpoint.

    Args:
        config: A YAML file, the name of a shipped configuration, or an `ExperimentConfig`.
        overrides: Changes, as `["optim.epochs=1", "data.root=corpora"]`.
        run: Run folder; None takes `runs/NAME`.
        resume: Resume an interrupted run; False starts again.
        progress: Show a progress bar.
        server: Address of a server whose model writes the training texts of a recipe.
        note: Called with remarks on training inputs prepared besides the corpus.

    Raises:
        ConfigError: When the configuration is unknown or invalid, or the run folder holds another one.
        InputError: When the corpus cannot be found or read.
    """
    from erc.memory.training_inputs import input_maker, refuse_idle_server
    from erc.training.experiment import run_experiment

    experiment = _experiment(config, overrides)
    refuse_idle_server(experiment, server)
    folder = Path("runs") / experiment.name if run is None else Path(run)
    with input_maker(experiment, folder.parent / "inputs", server=server, note=note) as inputs:
        return run_experiment(experiment, folder, resume=resume, progress=progress, inputs=inputs)


def _experiment(config: str | Path | ExperimentConfig, overrides: Sequence[str]) -> ExperimentConfig:
    from erc.config import ExperimentConfig, load_config
    from erc.errors import ConfigError

    if not isinstance(config, ExperimentConfig):
        return load_config(find_config(Path(config)), overrides)
    if overrides:
        raise ConfigError("overrides change a file: use config.model_copy, or pass the path of a YAML file")
    return config


def find_config(config: Path) -> Path:
    """The file itself, or the shipped configuration of that name.

    Raises:
        ConfigError: When there is neither.
    """
    from erc.errors import ConfigError
    from erc.resources import resource_dir

    if config.is_file():
        return config
    folder = resource_dir("configs")
    for name in (config.name, f"{config.name}.yaml"):  # a name may hold dots, as llm-llama-3.2-1b does
        if (folder / name).is_file():
            return folder / name
    names = ", ".join(sorted(path.stem for path in folder.glob("*.yaml")))
    raise ConfigError(f"{config}: no such configuration file; the shipped ones are {names}")
