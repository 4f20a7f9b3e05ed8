"""`erc models`, `erc train` and the table."""

from __future__ import annotations

import json
from io import StringIO
from pathlib import Path

import pytest
from rich.console import Console
from typer.testing import CliRunner

from erc.api.table import conversation_table
from erc.cli.app import app
from erc.data import Conversation, Utterance
from erc.errors import ArtefactError, ConfigError
from erc.inference.prediction import FineEmotion, Prediction
from erc.inference.predictor import Labelled

runner = CliRunner()


@pytest.fixture
def shelf(tiny_shelf: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("CONVEMO_MODELS", str(tiny_shelf))
    return tiny_shelf


def test_models_list_contains_shipped_and_user_models(shelf: Path) -> None:
    rows = {row["name"]: row for row in json.loads(runner.invoke(app, ["models", "list", "--json"]).stdout)}
    own = rows["tiny-window"]
    assert (own["kind"], own["emotions"], own["version"], own["shipped"]) == ("emonet", "meld", 1, False)
    assert own["bytes"] == sum(
        path.stat().st_size for path in (shelf / "tiny-window").rglob("*") if path.is_file()
    )
    assert all(row["shipped"] for name, row in rows.items() if not name.startswith("tiny-"))


def test_models_list_prints_a_table(shelf: Path) -> None:
    assert "tiny-window" in runner.invoke(app, ["models", "list"], env={"COLUMNS": "200"}).stdout


def test_models_show_prints_the_card_without_its_header(shelf: Path) -> None:
    out = runner.invoke(app, ["models", "show", "tiny-window"]).stdout
    assert "tiny-window" in out
    assert "name:" not in out


def test_models_show_json_is_the_description_and_the_dev_figures(shelf: Path) -> None:
    shown = json.loads(runner.invoke(app, ["models", "show", "tiny-window", "--json"]).stdout)
    assert shown["artefact"]["reads"]["utterance_model"] == "tiny-utterance"
    assert shown["metrics"] == {"dev": {"weighted_f1": 0.1}}


def test_models_path_is_the_folder(shelf: Path) -> None:
    assert runner.invoke(app, ["models", "path", "tiny-window@1"]).stdout == f"{shelf / 'tiny-window'}\n"


def test_models_error_for_an_unknown_name_lists_the_models(shelf: Path) -> None:
    error = runner.invoke(app, ["models", "show", "absent"]).exception
    assert isinstance(error, ArtefactError)
    assert "tiny-window" in str(error)


def test_train_error_for_an_unknown_configuration_lists_the_shipped_ones(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    error = runner.invoke(app, ["train", "absent.yaml"]).exception
    assert isinstance(error, ConfigError)
    assert "emonet-meld" in str(error)
    assert not (tmp_path / "runs").exists()


def test_train_rejects_a_wrong_override_before_writing_anything(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    error = runner.invoke(app, ["train", "emonet-meld", "optim.epoch=1"]).exception
    assert isinstance(error, ConfigError)
    assert "optim.epoch" in str(error)
    assert not list(tmp_path.iterdir())


def rendered(
    text: str,
    *,
    speaker: str = "Ana",
    confidence: float = 0.5,
    decision: str = "accept",
    turns: int | None = None,
) -> str:
    utterance = Utterance("u", 0, speaker, text)
    fine = (
        FineEmotion("joy", 0.9, None),
        FineEmotion("relief", 0.31, None),
        FineEmotion("pride", 0.2, None),
        FineEmotion("love", 0.1, None),
    )
    prediction = Prediction(
        "c", utterance, "joy", confidence, {"joy": confidence}, fine, 1.234, None, None, decision, "m@1"
    )
    console = Console(file=StringIO(), width=120)
    console.print(conversation_table(Labelled(Conversation("c", (utterance,)), (prediction,)), turns=turns))
    out = console.file.getvalue()  # type: ignore[attr-defined]
    assert isinstance(out, str)
    return out


def test_table_shows_speaker_text_confidence_and_uncertainty() -> None:
    out = rendered("No.", decision="review")
    assert all(part in out for part in ("Ana", "No.", "█▌", "50%", "relief 31%, pride 20%", "1.23", "review"))
    assert "joy 90%" not in out  # the emotion itself is not listed among the fine ones
    assert "love" not in out


def test_table_marks_only_turns_for_review() -> None:
    assert "review" not in rendered("No.")


def test_table_text_cannot_contain_control_codes_or_markup() -> None:
    out = rendered("\x1b[2Jgone \u202eright [bold]not[/bold]", speaker="A\x07na")
    assert "\x1b" not in out
    assert "\u202e" not in out
    assert all(part in out for part in ("<U+001B>", "<U+202E>", "[bold]not[/bold]", "A<U+0007>na"))


def test_table_shortens_a_long_text_and_stops_at_the_limit() -> None:
    out = rendered("x" * 5000)
    assert out.count("x") == 239 + 1  # one is in the word "text"
    assert "…" in out
    assert "No." not in rendered("No.", turns=0)
