"""`erc evaluate`: tables, report, figures and rejected options."""

import json
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from erc.cli.app import app
from erc.errors import ConfigError, InputError

runner = CliRunner()


@pytest.fixture
def comments(tmp_path: Path) -> Path:
    path = tmp_path / "test.tsv"
    path.write_text("".join(f"I am happy {i}\t{i % 28}\tc{i}\n" for i in range(30)), encoding="utf-8")
    return path


@pytest.fixture
def chat(tmp_path: Path) -> Path:
    path = tmp_path / "chat.csv"
    path.write_text(
        "speaker,text,emotion\n"
        + "".join(f"Ana,I am happy {i},{('joy', 'anger')[i % 2]}\n" for i in range(12)),
        encoding="utf-8",
    )
    return path


def test_evaluate_prints_tables_and_writes_report_and_figures(
    tiny_utterance_artefact: Path, comments: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "out"
    result = runner.invoke(
        app, ["evaluate", str(tiny_utterance_artefact), str(comments), "-o", str(folder), "--samples", "2"]
    )
    assert result.exit_code == 0, result.output
    for expected in (
        "cross-fitted here",
        "shipped thresholds",
        "0.5, uncalibrated",
        "admiration",
        "MCC",
        "AURC",
        "Monte-Carlo total",
    ):
        assert expected in result.stdout
    report = json.loads((folder / "report.json").read_text(encoding="utf-8"))
    assert report["model"]["name"] == "tiny-utterance@3"
    assert sorted(report["figures"]) == sorted(path.name for path in folder.glob("*.png"))


def test_evaluate_json_prints_only_the_report(
    tiny_utterance_artefact: Path, chat: Path, tmp_path: Path
) -> None:
    command = [
        "evaluate",
        str(tiny_utterance_artefact),
        str(chat),
        "-o",
        str(tmp_path),
        "--json",
        "--uncertainty",
        "off",
    ]
    result = runner.invoke(app, command)
    assert json.loads(result.stdout) == json.loads((tmp_path / "report.json").read_text(encoding="utf-8"))
    assert "figures are in" in result.stderr


def test_evaluate_default_folder_names_model_and_data(
    tiny_utterance_artefact: Path, chat: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert (
        runner.invoke(
            app, ["evaluate", str(tiny_utterance_artefact), str(chat), "--uncertainty", "off"]
        ).exit_code
        == 0
    )
    assert Path("runs/evaluate/tiny-utterance-chat/report.json").is_file()


def test_evaluate_unknown_label_names_file_line_and_label(
    tiny_utterance_artefact: Path, tmp_path: Path
) -> None:
    path = tmp_path / "chat.csv"
    path.write_text("speaker,text,emotion\nAna,hello,hungry\n", encoding="utf-8")
    result = runner.invoke(app, ["evaluate", str(tiny_utterance_artefact), str(path)])
    assert isinstance(result.exception, InputError)
    assert "chat.csv:2: 'hungry'" in str(result.exception)


def test_evaluate_without_matplotlib_prints_scores_and_names_the_extra(
    tiny_utterance_artefact: Path, chat: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    folder = tmp_path / "out"
    result = runner.invoke(
        app, ["evaluate", str(tiny_utterance_artefact), str(chat), "-o", str(folder), "--uncertainty", "off"]
    )
    assert result.exit_code == 0, result.output
    assert "Scores" in result.stdout
    assert json.loads((folder / "report.json").read_text(encoding="utf-8"))["figures"] == []
    assert "note: no figures were drawn" in result.stderr
    assert "convemo[report]" in result.stderr


@pytest.mark.parametrize("place", ["taken", "taken/report"])
def test_evaluate_rejects_an_output_path_that_is_not_a_folder_before_it_starts(
    tiny_utterance_artefact: Path, chat: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    monkeypatch.setattr(
        "erc.evaluation.evaluate.evaluate", lambda *_, **__: pytest.fail("evaluated before the check")
    )
    (tmp_path / "taken").write_text("mine", encoding="utf-8")
    result = runner.invoke(
        app, ["evaluate", str(tiny_utterance_artefact), str(chat), "-o", str(tmp_path / place)]
    )
    assert isinstance(result.exception, InputError)
    assert "taken: is not a folder" in str(result.exception)


def test_evaluate_reads_mapped_columns(tiny_utterance_artefact: Path, chat: Path, tmp_path: Path) -> None:
    named = tmp_path / "named.csv"
    named.write_text(
        chat.read_text(encoding="utf-8").replace("speaker,text,emotion", "speaker,said,felt"),
        encoding="utf-8",
    )
    command = [
        "evaluate",
        str(tiny_utterance_artefact),
        str(named),
        "-o",
        str(tmp_path / "out"),
        "--uncertainty",
        "off",
    ]
    assert "--map text=COLUMN" in str(runner.invoke(app, command).exception)
    result = runner.invoke(app, [*command, "--map", "text=said", "--map", "emotion=felt"])
    assert result.exit_code == 0, result.output
    assert (
        json.loads((tmp_path / "out" / "report.json").read_text(encoding="utf-8"))["data"]["utterances"] == 12
    )


def test_evaluate_rejects_map_for_a_corpus(tiny_utterance_artefact: Path) -> None:
    result = runner.invoke(app, ["evaluate", str(tiny_utterance_artefact), "meld", "--map", "text=said"])
    assert isinstance(result.exception, ConfigError)
