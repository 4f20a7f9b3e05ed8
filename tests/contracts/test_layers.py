"""Import rules: the layer order of pyproject.toml, and no import circles."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import grimp
import pytest

ROOT = Path(__file__).resolve().parents[2]


def circles(graph: grimp.ImportGraph) -> list[str]:
    """Every import circle, as `a -> b -> a`; each set of modules once, through its shortest path."""
    found: dict[frozenset[str], str] = {}
    for importer in sorted(graph.modules):
        for imported in sorted(graph.find_modules_directly_imported_by(importer)):
            way_back = graph.find_shortest_chain(importer=imported, imported=importer)
            if way_back is not None:
                found.setdefault(frozenset(way_back), " -> ".join([importer, *way_back]))
    return sorted(found.values())


def test_modules_import_only_lower_layers(tmp_path: Path) -> None:
    command = [
        sys.executable,
        "-c",
        "from importlinter.cli import lint_imports_command; lint_imports_command()",
        "--cache-dir",
        str(tmp_path),
    ]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)
    assert result.returncode == 0, result.stdout + result.stderr


def test_no_modules_import_each_other_in_a_circle() -> None:
    """Imports inside functions and under TYPE_CHECKING count too."""
    assert not circles(grimp.build_graph("erc", "speakers", cache_dir=None))


@pytest.mark.parametrize(
    "import_of_a",
    [
        "from circle_package.a import f",
        "def g():\n    from circle_package.a import f",
        "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from circle_package.a import f",
    ],
    ids=["module level", "inside a function", "under TYPE_CHECKING"],
)
def test_circle_is_found_and_printed(
    import_of_a: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = tmp_path / "circle_package"
    package.mkdir()
    (package / "__init__.py").touch()
    (package / "a.py").write_text("from circle_package import b\ndef f(): ...\n", encoding="utf-8")
    (package / "b.py").write_text(import_of_a + "\n", encoding="utf-8")
    (package / "c.py").write_text("from circle_package import a, b\n", encoding="utf-8")
    monkeypatch.syspath_prepend(str(tmp_path))
    graph = grimp.build_graph("circle_package", cache_dir=None)
    assert circles(graph) == ["circle_package.a -> circle_package.b -> circle_package.a"]
