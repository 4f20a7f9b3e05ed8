"""Training a conversation model from its configuration."""

from __future__ import annotations

from pathlib import Path

from erc.config import ExperimentConfig
from erc.training.emonet.assembly import build_network, make_task
from erc.training.emonet.finish import finish_emonet
from erc.training.emonet.ingredients import gather, provenance_of
from erc.training.inputs import InputMaker, no_inputs
from erc.training.loop.distributed import main_first, on_main
from erc.training.loop.settings import optim_settings
from erc.training.loop.trainer import train
from erc.training.provenance import begin_from


def run_emonet(
    config: ExperimentConfig,
    run_dir: Path,
    *,
    resume: bool,
    progress: bool,
    inputs: InputMaker = no_inputs,
) -> Path:
    """Train, compress, calibrate and save; return the artefact folder.

    Raises:
        ConfigError: If settings contradict each other, an input is missing, or a resumed run was started with
            other inputs.
        ArtefactError: If an encoder or the shared classifier cannot be loaded.
        InputError: If a turn has a label that is not one of the model's.
    """
    parts = main_first(lambda: gather(config, cache_dir=run_dir.parent / "features", inputs=inputs))
    on_main(lambda: begin_from(run_dir, provenance_of(config, parts), resume=resume))
    network = build_network(config, parts)
    task = make_task(config, parts)
    figures = train(
        model=network,
        task=task,
        optim=optim_settings(config),
        run_dir=run_dir,
        resume=resume,
        progress=progress,
    )
    return on_main(lambda: finish_emonet(config, run_dir, network, task, parts, figures))
