"""The recipe study reuses a finished cell only if base, sizes, overrides and sources are the same."""

from __future__ import annotations

import argparse
import json
import shutil
import sys
from pathlib import Path
from types import ModuleType

import pytest

SCRIPTS = Path(__file__).parents[2] / "scripts"
FIGURES = {
    "weighted_f1": 0.5, "macro_f1": 0.5, "auc": 0.5, "decisions": [0, 1, 1], "targets": [0, 1, 0],
    "groups": [0, 1, 2], "train_counts": [2, 1], "sizes": [3, 2],
}  # fmt: skip


SOURCES = {"classifier": "1" * 64, "files": {"train.csv": "2" * 64}, "prompts": "3" * 16}


@pytest.fixture
def study(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(SCRIPTS))
    import recipe_study

    return recipe_study


@pytest.fixture
def trained(study: ModuleType, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The recipes that were trained, in order."""
    names: list[str] = []

    class Quick:
        @classmethod
        def of(cls, corpus: str, **given: object) -> Quick:
            return cls()

        def trained(self, recipe: str, overrides: object, **given: object) -> dict[str, object]:
            names.append(recipe)
            return FIGURES

    monkeypatch.setattr(study, "Study", Quick)
    monkeypatch.setattr(study, "sources", lambda corpus: SOURCES)
    return names


def base(folder: Path, weights: bytes = b"12") -> str:
    folder.mkdir()
    (folder / "config.json").write_text("{}", encoding="utf-8")
    (folder / "model.safetensors").write_bytes(weights)
    return str(folder)


def asked(out: Path, base: str, **changes: object) -> argparse.Namespace:
    return argparse.Namespace(
        **{
            "out": out,
            "base": base,
            "corpora": ["meld"],
            "seeds": [0],
            "only": ["speaker-memory"],
            "train": 3,
            "dev": 2,
            **changes,
        }
    )


def test_study_resumes_only_from_records_with_the_same_inputs(
    study: ModuleType, trained: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, moved, other = base(tmp_path / "one"), base(tmp_path / "moved"), base(tmp_path / "other", b"123")
    counts = []
    for given in ((one, {}), (one, {}), (moved, {}), (other, {}), (one, {}), (one, {"train": 4})):
        study.run(asked(tmp_path / "out", given[0], **given[1]))
        counts.append(len(trained))
    assert counts == [1, 1, 1, 2, 3, 4]
    monkeypatch.setitem(study.ABLATIONS, "dialogue alone", ("laercs", ("llm.turns=1",)))
    study.run(asked(tmp_path / "out", one, only=["dialogue alone"]))
    monkeypatch.setitem(study.ABLATIONS, "dialogue alone", ("laercs", ("llm.turns=2",)))
    study.run(asked(tmp_path / "out", one, only=["dialogue alone"]))
    assert len(trained) == 6


@pytest.mark.parametrize(
    "change", [{"classifier": "4" * 64}, {"files": {"train.csv": "4" * 64}}, {"prompts": "4" * 16}]
)
def test_study_ignores_records_of_another_classifier_corpus_or_prompt(
    change: dict[str, object],
    study: ModuleType,
    trained: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    given = asked(tmp_path / "out", base(tmp_path / "one"))
    study.run(given)
    monkeypatch.setattr(study, "sources", lambda corpus: {**SOURCES, **change})
    assert "speaker-memory" not in study.tables(
        tmp_path / "out" / "meld", variants=["speaker-memory"], make=study.made(given, "meld")
    )
    study.run(given)
    assert len(trained) == 2


def test_study_ignores_records_of_another_configuration(
    study: ModuleType, trained: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A changed configuration file changes the inputs, even with the same overrides."""
    import recipe_study_parts

    given = asked(tmp_path / "out", base(tmp_path / "one"))
    study.run(given)
    configs = Path(shutil.copytree(recipe_study_parts.CONFIGS, tmp_path / "configs"))
    path = configs / "llm-speaker-memory-meld.yaml"
    path.write_text(
        path.read_text(encoding="utf-8").replace("label_smoothing: 0.05", "label_smoothing: 0.1"),
        encoding="utf-8",
    )
    monkeypatch.setattr(recipe_study_parts, "CONFIGS", configs)
    study.run(given)
    study.run(given)
    assert len(trained) == 2


def test_study_without_a_base_is_a_usage_error(
    study: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["recipe_study.py", "--out", "nowhere"])
    with pytest.raises(SystemExit) as ended:
        study.main()
    assert ended.value.code == 2
    assert "--base is required" in capsys.readouterr().err


@pytest.mark.parametrize(("taught", "warned"), [("now", False), ("4" * 16, True), (None, True)])
def test_study_warns_of_a_base_trained_on_other_prompts(
    taught: str | None, warned: bool, study: ModuleType, trained: list[str], tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    folder = base(tmp_path / "one")
    made = {"purpose": "tests", "prompts": study.prompts_digest() if taught == "now" else taught}
    (Path(folder) / "training.json").write_text(json.dumps(made), encoding="utf-8")
    arguments = [
        "--base",
        folder,
        "--out",
        str(tmp_path / "out"),
        "--corpora",
        "meld",
        "--seeds",
        "0",
        "--only",
        "speaker-memory",
    ]
    monkeypatch.setattr(sys, "argv", ["recipe_study.py", *arguments])
    study.main()
    assert ("trained on other prompts" in capsys.readouterr().err) is warned


def test_table_shows_the_difference_to_the_untuned_base(
    study: ModuleType, trained: list[str], tmp_path: Path
) -> None:
    import recipe_study_tables

    made = {"variant": "speaker-memory", "seed": 0, **FIGURES, "decisions": [0, 1, 0]}
    wrong = {**made, "variant": "untuned", "decisions": [1, 1, 1]}
    table = recipe_study_tables.table("meld", [made, wrong], variants=["untuned", "speaker-memory"])
    rows = {
        cells[1].strip(): [cell.strip() for cell in cells[2:]]
        for line in table.splitlines()
        if (cells := line.split("|"))
    }
    # Perfect decisions have F1 1. One label for every turn has F1 2 * 1/3 / (1 + 1/3) = 1/2 for that label,
    # which has a third of the turns, and 0 for the others: 1/6.
    assert rows["speaker-memory"][1].startswith("1.000")
    assert rows["untuned"][1].startswith("0.167")
    assert rows["speaker-memory"][2].startswith("+0.833")
    assert rows["untuned"][2] == ""


def test_study_replaces_a_record_without_inputs(
    study: ModuleType, trained: list[str], tmp_path: Path
) -> None:
    record = tmp_path / "out" / "meld" / "speaker-memory.0.json"
    record.parent.mkdir(parents=True)
    record.write_text(json.dumps({"variant": "speaker-memory", "seed": 0, **FIGURES}), encoding="utf-8")
    study.run(asked(tmp_path / "out", base(tmp_path / "one")))
    assert trained == ["speaker-memory"]


def test_tables_do_not_mix_records_of_two_bases(
    study: ModuleType, trained: list[str], tmp_path: Path
) -> None:
    one, other = base(tmp_path / "one"), base(tmp_path / "other", b"123")
    study.run(asked(tmp_path / "out", one, seeds=[0, 1]))
    study.run(asked(tmp_path / "out", other, seeds=[1]))
    whole = study.tables(tmp_path / "out" / "meld", variants=["speaker-memory"])
    assert [
        line.split("|")[2].strip() for line in whole.splitlines() if line.startswith("| speaker-memory")
    ] == [
        "1",
        "1",
    ]
    own = study.tables(
        tmp_path / "out" / "meld",
        variants=["speaker-memory"],
        make=study.made(asked(tmp_path / "out", one), "meld"),
    )
    assert (one in own, other in own) == (True, False)
