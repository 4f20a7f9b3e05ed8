"""Every shipped configuration loads and names the command that runs it."""

from __future__ import annotations

from pathlib import Path

import pytest

from erc.config import load_config
from erc.errors import ConvemoError
from erc.resources import resource_dir

ROOT = Path(__file__).resolve().parents[2]
CONFIGS = sorted((ROOT / "configs").rglob("*.yaml"))


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.name)
def test_shipped_config_loads_and_round_trips(path: Path, tmp_path: Path) -> None:
    config = load_config(path)
    resolved = tmp_path / "resolved.yaml"
    resolved.write_text(config.to_yaml(), encoding="utf-8")
    assert load_config(resolved) == config


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.name)
def test_shipped_config_opens_with_the_command_that_runs_it(path: Path) -> None:
    first = path.read_text(encoding="utf-8").splitlines()[0]
    assert first.startswith("#")
    assert f"erc train configs/{path.relative_to(ROOT / 'configs').as_posix()}" in first


def test_config_names_are_unique() -> None:
    names = [load_config(path).name for path in CONFIGS]
    assert sorted(names) == sorted(set(names))


@pytest.mark.parametrize("name", ["configs", "prompts"])
def test_resources_of_a_checkout_are_its_folders(name: str) -> None:
    assert resource_dir(name) == ROOT / name


def test_missing_resource_error_names_both_folders() -> None:
    with pytest.raises(ConvemoError, match=r"_absent.*absent"):
        resource_dir("absent")
