"""The README is short, and its example prints the output it shows. tests/docs runs its other code."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")


@pytest.mark.shipped
def test_python_example_of_the_readme_prints_the_output_it_shows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(ROOT / "examples", tmp_path / "examples")
    monkeypatch.chdir(tmp_path)
    example, shown = re.findall(r"```(?:python|text)\n(.*?)```", README, re.DOTALL)[:2]
    assert len([line for line in example.splitlines() if line.strip()]) == 5
    exec(compile(example, "README.md", "exec"), {})
    assert capsys.readouterr().out == shown


def test_readme_is_short() -> None:
    assert len(README.splitlines()) < 130


def test_links_of_the_readme_point_to_existing_files() -> None:
    links = re.findall(r"\]\(([^)#]+)[^)]*\)", README)
    assert [link for link in links if "://" not in link and not (ROOT / link).exists()] == []
