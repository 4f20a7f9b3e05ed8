import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from erc.cli.data import app

runner = CliRunner()


@pytest.fixture
def source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("CONVEMO_DATA", str(tmp_path / "root"))
    folder = tmp_path / "source"
    folder.mkdir()
    (folder / "train.tsv").write_text("one\t0\ta\ntwo\t3,27\tb\n", encoding="utf-8")
    (folder / "notes.txt").write_text("mine", encoding="utf-8")
    return folder


def test_data_import_then_list_shows_the_split(source: Path) -> None:
    imported = runner.invoke(app, ["import", "goemotions", "--from", str(source)])
    assert imported.exit_code == 0
    assert imported.stdout.endswith("  train.tsv\n")
    assert "licence: GoEmotions: Apache-2.0 code, CC BY 4.0 data" in imported.stderr
    listed = json.loads(runner.invoke(app, ["list", "--json"]).stdout)
    assert [entry["splits"] for entry in listed if entry["corpus"] == "goemotions"] == [["train"]]


def test_data_check_prints_figures_checksum_and_irregularities(source: Path) -> None:
    result = runner.invoke(app, ["check", str(source)])
    assert result.exit_code == 0
    for expected in ("simplified", "admiration", "50.0%", "neutral_with_others", "  train.tsv"):
        assert expected in result.stdout


def test_data_check_reports_other_files_on_standard_error(source: Path) -> None:
    result = runner.invoke(app, ["check", str(source)])
    assert "notes.txt" in result.stderr
    assert "notes.txt" not in result.stdout


def test_data_check_json_is_one_document(source: Path) -> None:
    (entry,) = json.loads(runner.invoke(app, ["check", str(source / "train.tsv"), "--json"]).stdout)
    assert (
        entry["corpus"],
        entry["split"],
        entry["conversations"],
        entry["utterances"],
        entry["speakers"],
    ) == ("goemotions", "train", 2, 2, 1)
    assert entry["anomalies"][0]["kind"] == "neutral_with_others"


def test_data_check_warns_about_the_reduced_edition(source: Path) -> None:
    path = source / "emorynlp_dev_final.csv"
    header = "Utterance,Speaker,Emotion,Scene_ID,Utterance_ID,Season,Episode,Start_Time,End_Time\n"
    path.write_text(header + "Tea.,\"['Ana Gil']\",Joyful,4,1,1,2,,\n", encoding="utf-8")
    assert "not comparable" in runner.invoke(app, ["check", str(path)]).stderr
