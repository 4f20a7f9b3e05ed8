"""`erc.train` and `erc.evaluate` do the same as the commands."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from tiny_corpora import write_corpora
from typer.testing import CliRunner

import erc
from erc.cli.app import app
from erc.config import load_config
from erc.errors import ConfigError

TINY = [
    "backbone.name=ENCODER",
    "optim.epochs=1",
    "optim.precision=fp32",
    "uncertainty.samples=2",
    "artefact.delta=none",
    "data.max_tokens=16",
]


@pytest.fixture
def corpora(place: Path) -> Path:
    return write_corpora(place / "corpora")


@pytest.fixture
def overrides(corpora: Path, tiny_encoder_dir: Path) -> list[str]:
    name = TINY[0].replace("ENCODER", str(tiny_encoder_dir))
    return [name, *TINY[1:], f"data.root={corpora}", "artefact.init_from=tiny-utterance"]


def test_train_returns_a_folder_that_load_accepts(overrides: list[str]) -> None:
    folder = erc.train("emonet-meld", overrides, run="runs/mine")
    assert folder == Path("runs/mine/emonet-meld-minilm")
    [turn] = erc.load(str(folder), samples=2, precision="fp32").label("Ana: Okay.")
    assert turn.model == "emonet-meld-minilm@1"


def test_train_accepts_a_configuration_object(overrides: list[str]) -> None:
    from erc.resources import resource_dir

    config = load_config(resource_dir("configs") / "emonet-meld.yaml", overrides)
    with pytest.raises(ConfigError, match="overrides"):
        erc.train(config, overrides)
    assert (erc.train(config, run="runs/object") / "artefact.json").is_file()


def test_train_error_for_an_unknown_configuration_names_the_shipped_ones() -> None:
    with pytest.raises(ConfigError, match="emonet-meld"):
        erc.train("emonet-melt")


@pytest.mark.parametrize("transcript", [True, False])
def test_evaluate_returns_the_report_of_the_command(transcript: bool, corpora: Path) -> None:
    named: dict[str, Any] = {"columns": {"emotion": "mood"}} if transcript else {"root": corpora}
    data = "gold.csv" if transcript else "meld"
    rows = [("Ana", "I am so happy!", "joy"), ("Ben", "No.", "anger"), ("Ana", "Okay.", "neutral")] * 4
    lines = ["speaker,text,mood", *(",".join(row) for row in rows)]
    Path("gold.csv").write_text("\n".join(lines), encoding="utf-8")
    report = erc.evaluate("tiny-hierarchical", data, samples=2, precision="fp32", **named).report
    options = ["--map", "emotion=mood"] if transcript else ["--root", str(corpora)]
    result = CliRunner().invoke(
        app,
        ["evaluate", "tiny-hierarchical", data, "--samples", "2", "--precision", "fp32", "--json", *options],
    )
    assert result.exit_code == 0, result.output
    theirs = json.loads(result.stdout)
    theirs.pop("figures")
    assert json.loads(json.dumps(report)) == theirs


def test_evaluate_rejects_language_model_options_for_other_models() -> None:
    with pytest.raises(ConfigError, match="tiny-hierarchical is none"):
        erc.evaluate("tiny-hierarchical", "meld", server="http://localhost:1/v1")
