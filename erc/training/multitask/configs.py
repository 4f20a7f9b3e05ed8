"""The configurations that a multitask run trains together, and the texts that are excluded from training."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from erc.config import DataConfig, ExperimentConfig, HeadConfig, LossConfig, load_config
from erc.data.leaks import LeakFilter, known_held_out
from erc.errors import ConfigError
from erc.persistence.layout import read_json, write_json
from erc.resources import resource_dir
from erc.training.inputs import load_splits

LEAKS = "leaks.json"
"""The file in a run's folder that lists the splits whose texts were excluded from training."""


def part_configs(config: ExperimentConfig) -> list[ExperimentConfig]:
    """The configuration of each part, with the encoder, data root and schedule of `config`.

    Raises:
        ConfigError: If a part cannot be read, the parts cannot share an encoder, or `config` has a section
            that no part reads.
    """
    assert config.multitask is not None
    parts = [_adopted(config, _read(name)) for name in config.multitask.parts]
    kinds = [part.task for part in parts]
    if kinds != ["utterance"] + ["emonet"] * (len(parts) - 1):
        raise ConfigError(
            f"multitask.parts are of the tasks {', '.join(kinds)}: "
            "give one utterance classifier first, then conversation models"
        )
    names = [part.name for part in parts]
    if len(set(names)) < len(names) or any("." in name for name in names):
        raise ConfigError(
            f"multitask.parts are named {', '.join(names)}: their names must differ and hold no dot"
        )
    for part in parts[1:]:
        _check_conversation_model(part)
    _check_whole(config, parts[0])
    return parts


def _read(name: str) -> ExperimentConfig:
    path = Path(name)
    shipped = resource_dir("configs") / f"{name}.yaml"
    if not path.is_file() and not shipped.is_file():
        raise ConfigError(
            f"multitask.parts: '{name}' is neither a configuration file nor the name of a shipped one"
        )
    return load_config(path if path.is_file() else shipped)


def _adopted(config: ExperimentConfig, part: ExperimentConfig) -> ExperimentConfig:
    data = config.data.model_copy(
        update={
            "corpus": part.data.corpus,
            "train_split": part.data.train_split,
            "dev_split": part.data.dev_split,
        }
    )
    artefact = part.artefact.model_copy(update={"delta": config.artefact.delta})
    optim = part.optim.model_copy(update={"seed": config.optim.seed, "precision": config.optim.precision})
    update = {
        "data": data,
        "backbone": config.backbone,
        "artefact": artefact,
        "optim": optim,
        "uncertainty": config.uncertainty,
    }
    return part.model_copy(update=update)


def _check_conversation_model(part: ExperimentConfig) -> None:
    assert part.emonet is not None
    if part.emonet.encoder != "shared":
        raise ConfigError(
            f"multitask.parts: {part.name} has its own encoder: "
            "set emonet.encoder=shared in its configuration"
        )
    if part.emonet.bio != "none" or part.emonet.join != "sum":
        raise ConfigError(
            f"multitask.parts: {part.name} is first trained without its memory, "
            "which needs emonet.join=sum and emonet.bio=none"
        )


def _check_whole(config: ExperimentConfig, first: ExperimentConfig) -> None:
    plain = DataConfig(corpus=first.data.corpus)
    unread = [
        name
        for name, default in (("head", HeadConfig()), ("loss", LossConfig()))
        if getattr(config, name) != default
    ]
    if unread:
        raise ConfigError(
            f"the section '{unread[0]}' of a multitask configuration is not read by any part: "
            "write it into the configurations of the parts"
        )
    for name in ("corpus", "train_split", "dev_split"):
        if getattr(config.data, name) != getattr(plain, name):
            raise ConfigError(
                f"data.{name} is '{getattr(config.data, name)}', "
                f"but {first.name}, the first part, has '{getattr(plain, name)}'"
            )


def record_parts(parts: Sequence[ExperimentConfig], run_dir: Path) -> None:
    """Write the resolved parts to `run_dir / parts`.

    Raises:
        ConfigError: If the folder holds other parts.
    """
    folder = run_dir / "parts"
    folder.mkdir(parents=True, exist_ok=True)
    for part in parts:
        path = folder / f"{part.name}.yaml"
        if path.exists() and load_config(path) != part:
            raise ConfigError(
                f"{path} holds another configuration of {part.name}: "
                "give another run folder with --run, or remove this one"
            )
        path.write_text(part.to_yaml(), encoding="utf-8")


def leak_filter(
    parts: Sequence[ExperimentConfig], run_dir: Path, *, init_from: str | None = None, resume: bool = False
) -> LeakFilter:
    """A filter of training texts: no part is trained on a text that any part is evaluated on.

    Test splits are known by the hashes in `heldout_hashes.json` beside the corpora, if that file exists.
    `run_dir / leaks.json` records which splits were known, and whether the classifier to start from was
    trained in this run, under the filter.

    Args:
        parts: The configurations of all parts.
        run_dir: Folder of the run.
        init_from: The classifier to start from; None if it is trained in this run.
        resume: Whether a run is resumed.

    Raises:
        ConfigError: If a resumed run was started with another filter.
    """
    tests = known_held_out(parts[0].data.root)
    found = LeakFilter.of([*tests, *(load_splits(part)[1] for part in parts)])
    kept_out = [f"{split.corpus}/{split.split}" for split in found.held_out]
    record = {"kept_out": kept_out, "tests_known": bool(tests), "start_filtered": init_from is None}
    path = run_dir / LEAKS
    if resume and path.exists() and read_json(path) != record:
        raise ConfigError(
            f"{path}: the run was started with other texts excluded from training: "
            "train again with --fresh, or give another --run"
        )
    write_json(path, record)
    return found
