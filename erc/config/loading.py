"""Reads an experiment from its file."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from pydantic import ValidationError

from erc.config.experiment import ExperimentConfig
from erc.config.explaining import explain, place_of
from erc.config.source import apply_override, parse
from erc.errors import ConfigError


def load_config(path: str | Path, overrides: Sequence[str] = ()) -> ExperimentConfig:
    """Reads an experiment from a YAML file and applies overrides `section.key=value`, with values in YAML.

    An override with nothing after `=` sets null. A later override replaces an earlier one.

    Raises:
        ConfigError: For a file that cannot be read, an unknown or repeated key, or a value of the wrong type
            or out of range. The message names file, line and key.
    """
    source = str(path)
    try:
        text = Path(path).read_text(encoding="utf-8")
    except FileNotFoundError:
        raise ConfigError(f"{source}: there is no such configuration file") from None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{source}: cannot be read as UTF-8 text: {error}") from error
    tree, lines = parse(text, source)
    overridden: dict[tuple[str, ...], str] = {}
    for override in overrides:
        overridden[apply_override(tree, override)] = override
    try:
        return ExperimentConfig.model_validate(tree)
    except ValidationError as error:
        problems = [
            f"{place_of(found['loc'], source, lines, overridden)}: {explain(found)}"
            for found in error.errors()
        ]
        raise ConfigError("\n".join(problems)) from None
