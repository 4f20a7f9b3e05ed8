"""Runs the code and commands of the documentation, each page in its own folder with the examples."""

from __future__ import annotations

import os
import re
import shutil
from pathlib import Path
from typing import Any

import pytest
from doc_blocks import ROOT, Block, blocks, pages, run_page

pytestmark = pytest.mark.shipped


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder with a copy of the examples."""
    shutil.copytree(ROOT / "examples", tmp_path / "examples")
    monkeypatch.chdir(tmp_path)
    for name in [name for name in os.environ if name.startswith("CONVEMO_") and name != "CONVEMO_REQUIRE"]:
        monkeypatch.delenv(name)
    return tmp_path


@pytest.mark.parametrize("page", pages(), ids=lambda page: str(page.relative_to(ROOT)))
def test_code_of_page_runs(page: Path, folder: Path) -> None:
    run_page(page)


def test_options_and_verbs_named_on_pages_exist() -> None:
    from typer.main import get_command

    from erc.cli.app import app

    verbs: dict[str, Any] = {}
    options = {"--help"}

    def collect(command: Any, path: str) -> None:
        verbs[path] = command
        options.update(option for one in command.params for option in one.opts)
        for name, inner in getattr(command, "commands", {}).items():
            collect(inner, f"{path} {name}")

    collect(get_command(app), "erc")
    others = re.compile(r"accelerate|torchrun|scripts/|pip ")
    unknown = []
    for page in [ROOT / "README.md", *(ROOT / "docs").rglob("*.md")]:
        for line in page.read_text(encoding="utf-8").splitlines():
            if others.search(line):
                continue
            for code in re.findall(r"`([^`]+)`", line) or ([line] if line.startswith("erc ") else []):
                unknown += [
                    f"{page.name}: {one}" for one in re.findall(r"--[a-z][a-z-]+", code) if one not in options
                ]
                verb = re.match(r"erc [a-z]+", code)
                if verb is not None and verb[0] not in verbs:
                    unknown.append(f"{page.name}: {verb[0]}")
    assert len(verbs) > 15
    assert unknown == []


def test_block_has_its_rule_and_line_number(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(
        "# Page\n\n```sh\nerc --version\n```\n\n<!-- test: skip, needs a server -->\n```python\nx\n```\n\n"
        "- item\n\n    ```sh\n    erc a\n\n    erc b\n    ```\n",
        encoding="utf-8",
    )
    assert blocks(page) == [
        Block(3, "sh", "erc --version\n"),
        Block(8, "python", "x\n", "skip", "needs a server"),
        Block(14, "sh", "erc a\n\nerc b\n"),
    ]


@pytest.mark.parametrize("rule", ["skip", "skips, no server", "append"])
def test_rule_without_a_reason_is_refused(rule: str, tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(f"<!-- test: {rule} -->\n```sh\nerc\n```\n", encoding="utf-8")
    with pytest.raises(ValueError, match=r"page\.md:2"):
        blocks(page)


@pytest.mark.parametrize(
    ("page", "message"),
    [
        ("```sh\nerc label gone.txt\n```\n", "ended with 2"),
        ("```sh\nmake demo\n```\n", "give the block a rule"),
        ("```python\nprint(1)\n```\n\n<!-- test: output -->\n```text\n2\n```\n", "another output"),
    ],
)
def test_page_with_an_error_fails(
    page: str, message: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("doc_blocks.ROOT", folder)
    (folder / "page.md").write_text(page, encoding="utf-8")
    with pytest.raises(AssertionError, match=message):
        run_page(folder / "page.md")
