"""One training run from a configuration to an artefact folder."""

from __future__ import annotations

from pathlib import Path

from erc.config import ExperimentConfig
from erc.errors import ConfigError


def run_experiment(config: ExperimentConfig, run_dir: Path, *, resume: bool = True, progress: bool = True) -> Path:
    """Trains what `config` describes in `run_dir` and returns the artefact folder, `run_dir / config.name`.

    The resolved configuration is written to the run folder first. A run folder that holds another configuration is refused, so
    that resuming never mixes two experiments.
    """
    run_dir.mkdir(parents=True, exist_ok=True)
    resolved = config.to_yaml()
    record = run_dir / "config.yaml"
    if record.exists() and record.read_text(encoding="utf-8") != resolved:
        raise ConfigError(f"{record} holds another configuration: give another run folder with --run, or remove this one")
    record.write_text(resolved, encoding="utf-8")
    if config.task == "utterance":
        from erc.training.utterance_experiment import run_utterance

        return run_utterance(config, run_dir, resume=resume, progress=progress)
    if config.task == "emonet":
        from erc.training.emonet_experiment import run_emonet

        return run_emonet(config, run_dir, resume=resume, progress=progress)
    from erc.training.llm_experiment import run_llm

    return run_llm(config, run_dir, resume=resume, progress=progress)
