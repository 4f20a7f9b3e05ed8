"""`import erc` loads no heavy package, and all public names are found and typed."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import erc

HEAVY = ("torch", "transformers", "numpy", "pandas", "rich", "typer", "sqlalchemy")


def modules_after(code: str) -> list[str]:
    """The heavy packages that a fresh process has imported after `code`."""
    script = f"import sys\n{code}\nprint(*sorted(set({HEAVY!r}) & set(sys.modules)))"
    result = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=True
    )
    return result.stdout.split()


@pytest.mark.parametrize("code", ["import erc", "import erc; dir(erc)", "import erc; erc.__version__"])
def test_import_loads_no_heavy_package(code: str) -> None:
    assert modules_after(code) == []


def test_conversation_can_be_built_without_a_model() -> None:
    code = "import erc; erc.Conversation('c', (erc.Utterance('c-0', 0, 'Ana', 'Hi'),))"
    assert "torch" not in modules_after(code)


@pytest.mark.parametrize("name", [name for name in erc.__all__ if name != "__version__"])
def test_every_public_name_is_found_and_documented(name: str) -> None:
    found = getattr(erc, name)
    assert found.__name__ == name
    assert found.__doc__
    assert name in dir(erc)


def test_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'lable'"):
        erc.lable  # noqa: B018


def test_lazy_names_for_type_checkers_match_their_modules() -> None:
    tree = ast.parse(Path(erc.__file__).read_text(encoding="utf-8"))
    [guarded] = [
        node for node in tree.body if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"
    ]
    seen = {
        alias.name: node.module
        for node in guarded.body
        if isinstance(node, ast.ImportFrom) and node.module != "typing"
        for alias in node.names
    }
    assert seen == {name: getattr(erc, name).__module__ for name in erc.__all__ if name != "__version__"}
    assert any(ast.unparse(node) == "__version__: str" for node in guarded.body)


def test_package_is_marked_as_typed() -> None:
    assert (Path(erc.__file__).parent / "py.typed").is_file()
