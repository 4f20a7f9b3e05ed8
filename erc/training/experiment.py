"""Runs the training of one configuration, from its corpus to a model folder."""

from __future__ import annotations

from pathlib import Path
from typing import Final, Protocol

from erc.config import ExperimentConfig, load_config
from erc.errors import ConfigError
from erc.training.inputs import InputMaker, no_inputs
from erc.training.loop.distributed import on_main


class TaskRunner(Protocol):
    """Trains one kind of model and returns the folder of the finished model."""

    def __call__(
        self,
        config: ExperimentConfig,
        run_dir: Path,
        /,
        *,
        resume: bool,
        progress: bool,
        inputs: InputMaker,
    ) -> Path:
        """Trains in `run_dir`; with `resume`, continues from the last checkpoint there."""
        ...


# Every runner imports its module when it is called, so that a run does not import the other tasks.


def _run_utterance(
    config: ExperimentConfig, run_dir: Path, *, resume: bool, progress: bool, inputs: InputMaker
) -> Path:
    from erc.training.utterance.experiment import run_utterance

    return run_utterance(config, run_dir, resume=resume, progress=progress)


def _run_emonet(
    config: ExperimentConfig, run_dir: Path, *, resume: bool, progress: bool, inputs: InputMaker
) -> Path:
    from erc.training.emonet.experiment import run_emonet

    return run_emonet(config, run_dir, resume=resume, progress=progress, inputs=inputs)


def _run_llm(
    config: ExperimentConfig, run_dir: Path, *, resume: bool, progress: bool, inputs: InputMaker
) -> Path:
    from erc.training.llm.experiment import run_llm

    return run_llm(config, run_dir, resume=resume, progress=progress, inputs=inputs)


def _run_multitask(
    config: ExperimentConfig, run_dir: Path, *, resume: bool, progress: bool, inputs: InputMaker
) -> Path:
    from erc.training.multitask.experiment import run_multitask

    return run_multitask(config, run_dir, resume=resume, progress=progress)


TASK_RUNNERS: Final[dict[str, TaskRunner]] = {
    "utterance": _run_utterance,
    "emonet": _run_emonet,
    "llm": _run_llm,
    "multitask": _run_multitask,
}
"""The runner of every task in `erc.config.TASK_SECTIONS`."""


def run_experiment(
    config: ExperimentConfig,
    run_dir: Path,
    *,
    resume: bool = True,
    progress: bool = True,
    inputs: InputMaker = no_inputs,
) -> Path:
    """Trains the model that `config` describes, in `run_dir`.

    The resolved configuration is written to the run folder first. If several processes train, only the main
    one writes, and all return the same folder.

    Args:
        config: The experiment.
        run_dir: The run folder.
        resume: Whether an interrupted run continues from its last checkpoint; otherwise it starts again.
        progress: Whether to show a progress bar.
        inputs: Makes the training inputs that the recipe needs besides the corpus.

    Returns:
        The model folder `run_dir / config.name`; for task `multitask` the folder `run_dir / "models"` with
        one model folder per part.

    Raises:
        ConfigError: If the run folder has another configuration, a resumed run was started with other inputs,
            or the recipe needs an input that `inputs` does not make.
        ArtefactError: If a model that training starts from cannot be used, or the result cannot be saved.
        InputError: If a corpus cannot be read.
    """
    on_main(lambda: _record(config, run_dir))
    return TASK_RUNNERS[config.task](config, run_dir, resume=resume, progress=progress, inputs=inputs)


def _record(config: ExperimentConfig, run_dir: Path) -> None:
    """Writes the configuration into the run folder, so that two experiments are never mixed there."""
    run_dir.mkdir(parents=True, exist_ok=True)
    record = run_dir / "config.yaml"
    # Compared after parsing, so that a key that is newer than the record gets its default.
    if record.exists() and load_config(record) != config:
        raise ConfigError(
            f"{record} holds another configuration: give another run folder with --run, or remove this one"
        )
    record.write_text(config.to_yaml(), encoding="utf-8")
