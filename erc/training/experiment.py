"""One training run from a configuration to an artefact folder."""

from __future__ import annotations

from pathlib import Path

from erc.config import ExperimentConfig, load_config
from erc.errors import ConfigError
from erc.training.inputs import SupplyMaker, no_supplies
from erc.training.loop.distributed import on_main


def run_experiment(
    config: ExperimentConfig,
    run_dir: Path,
    *,
    resume: bool = True,
    progress: bool = True,
    supplies: SupplyMaker = no_supplies,
) -> Path:
    """Trains what `config` describes in `run_dir` and returns the artefact folder, `run_dir / config.name`.

    Of task multitask it is `run_dir / models`, in which each part's artefact folder lies.

    `supplies` makes what the recipe needs beside the corpus; without it, ConfigError says what is missing.

    The resolved configuration is written to the run folder first. A run folder that holds another
    configuration is refused, so that resuming never mixes two experiments. Where several processes train, the
    main one writes and all return the same folder.
    """
    on_main(lambda: _record(config, run_dir))
    if config.task == "utterance":
        from erc.training.utterance.experiment import run_utterance

        return run_utterance(config, run_dir, resume=resume, progress=progress)
    if config.task == "emonet":
        from erc.training.emonet.experiment import run_emonet

        return run_emonet(config, run_dir, resume=resume, progress=progress, supplies=supplies)
    if config.task == "multitask":
        from erc.training.multitask.experiment import run_multitask

        return run_multitask(config, run_dir, resume=resume, progress=progress)
    from erc.training.llm.experiment import run_llm

    return run_llm(config, run_dir, resume=resume, progress=progress, supplies=supplies)


def _record(config: ExperimentConfig, run_dir: Path) -> None:
    run_dir.mkdir(parents=True, exist_ok=True)
    record = run_dir / "config.yaml"
    if (
        record.exists() and load_config(record) != config
    ):  # compared as read: a key that is new since then has its default
        raise ConfigError(
            f"{record} holds another configuration: give another run folder with --run, or remove this one"
        )
    record.write_text(config.to_yaml(), encoding="utf-8")
