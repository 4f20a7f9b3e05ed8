"""The wheel contains only the packages with their data, and finds its data after unpacking."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
pytestmark = pytest.mark.wheel


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(folder), str(ROOT)]
    built = subprocess.run(command, capture_output=True, text=True, timeout=240, check=False)
    assert built.returncode == 0, built.stdout + built.stderr
    return next(folder.glob("*.whl"))


@pytest.fixture(scope="module")
def names(wheel: Path) -> set[str]:
    with zipfile.ZipFile(wheel) as archive:
        return set(archive.namelist())


def sources(folder: str) -> set[str]:
    """The files of a folder of the checkout that belong in the wheel, relative to it."""
    files = (
        path for path in (ROOT / folder).rglob("*") if path.is_file() and "__pycache__" not in path.parts
    )
    return {path.relative_to(ROOT / folder).as_posix() for path in files if not path.name.startswith(".")}


@pytest.mark.parametrize(
    ("folder", "place"),
    [("erc", "erc"), ("speakers", "speakers"), ("configs", "erc/_configs"), ("prompts", "erc/_prompts")],
)
def test_wheel_contains_every_file_of_the_folder(folder: str, place: str, names: set[str]) -> None:
    assert {f"{place}/{name}" for name in sources(folder)} - names == set()


def test_wheel_contains_only_packages_and_their_metadata(names: set[str]) -> None:
    assert {name.split("/")[0].partition("-")[0] for name in names} == {"erc", "speakers", "convemo"}
    assert not [
        name
        for name in names
        if "__pycache__" in name or "/tests/" in name or Path(name).name.startswith("test_")
    ]


def test_wheel_contains_licence_and_command(wheel: Path, names: set[str]) -> None:
    info = next(name.split("/")[0] for name in names if name.endswith(".dist-info/METADATA"))
    with zipfile.ZipFile(wheel) as archive:
        assert "Apache License" in archive.read(f"{info}/licenses/LICENSE").decode()
        assert "erc = erc.cli:main" in archive.read(f"{info}/entry_points.txt").decode()


def test_unpacked_wheel_finds_its_own_data(wheel: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(tmp_path)
    code = (
        "import sys; sys.path.insert(0, sys.argv[1])\n"
        "from erc.resources import resource_dir\n"
        "for name in sys.argv[2:]: print(resource_dir(name))"
    )
    command = [sys.executable, "-I", "-c", code, str(tmp_path), "configs", "prompts"]
    found = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True, cwd=tmp_path)
    assert found.stdout.splitlines() == [
        str(tmp_path / "erc" / "_configs"),
        str(tmp_path / "erc" / "_prompts"),
    ]
