"""The scripts import only what exists and never the tests."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest
from source_map import ROOT, TESTS, unknown_imports

SCRIPTS = sorted((ROOT / "scripts").glob("*.py"))
TEST_MODULES = {path.stem for path in TESTS.rglob("*.py")} | {"tests"}


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.name)
def test_script_imports_names_that_exist(path: Path) -> None:
    """Imports inside functions count too; most of them run only in long studies."""
    assert unknown_imports(path.read_text(encoding="utf-8")) == []


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.name)
def test_script_does_not_import_tests(path: Path) -> None:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    imported = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    imported |= {node.module or "" for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    assert {name.partition(".")[0] for name in imported} & TEST_MODULES == set()


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("from erc.errors import ConvemoError, absent", ["1: erc.errors.absent"]),
        ("def f():\n    from erc.absent import g", ["2: erc.absent.g"]),
        ("from erc.llm import recipes\nfrom erc.transcripts import read_transcript", []),
        ("from pathlib import absent", []),
    ],
)
def test_import_of_a_missing_name_is_found(source: str, expected: list[str]) -> None:
    assert unknown_imports(source) == expected
