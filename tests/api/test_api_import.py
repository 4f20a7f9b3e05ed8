"""`import erc`: light, complete and typed."""

from __future__ import annotations

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


def test_type_checker_sees_the_types_behind_the_lazy_names(tmp_path: Path) -> None:
    program = tmp_path / "program.py"
    program.write_text(
        "import erc\nreveal_type(erc.load())\nreveal_type(erc.load().label('a.txt')[0].emotion)\n"
    )
    command = [sys.executable, "-m", "mypy", "--no-incremental", "--follow-imports=silent"]
    command += ["--ignore-missing-imports", str(program)]
    result = subprocess.run(
        command, capture_output=True, text=True, timeout=240, check=False, cwd=Path(erc.__file__).parents[1]
    )
    revealed = [line for line in result.stdout.splitlines() if "Revealed type" in line]
    assert '"erc.api.predictor.LoadedPredictor"' in revealed[0], result.stdout
    assert revealed[1].rstrip('"').endswith("str")


def test_package_says_that_it_is_typed() -> None:
    assert (Path(erc.__file__).parent / "py.typed").is_file()
