"""The source has no unsafe loading, oversized files, unknown top-level files or machine paths."""

from __future__ import annotations

import ast
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SHIPPED = sorted(path for room in ("erc", "speakers", "scripts") for path in (ROOT / room).rglob("*.py"))
TOP_LEVEL = {
    ".ci", ".gitignore", ".pre-commit-config.yaml", "CHANGELOG.md", "CITATION.cff", "CONTRIBUTING.md",
    "LICENSE", "Makefile", "README.md", "configs", "constraints.txt", "docs", "erc", "examples", "mkdocs.yml",
    "prompts", "pyproject.toml", "scripts", "speakers", "tests",
}  # fmt: skip
PICKLING_MODULES = {"pickle", "cPickle", "_pickle", "dill", "cloudpickle", "joblib", "shelve", "marshal"}
CODE_LOADERS = {
    ("torch", "load"),
    ("torch", "save"),
    ("yaml", "unsafe_load"),
    ("yaml", "full_load"),
    ("pandas", "read_pickle"),
}
TEXT_SUFFIXES = {".py", ".md", ".yaml", ".toml", ".txt", ".sh", ""}
WORKPLACE = re.compile(
    r"(?<![\w.:/~$}])/(?:home|root|work|mnt|Users|media|scratch)/\w|\b[A-Z]:\\Users|\bissues? #?\d",
    re.IGNORECASE,
)
"""Absolute paths of one machine, and numbers of an issue tracker."""
DANGEROUS_FLAGS = {"trust_remote_code", "allow_pickle", "allow_dangerous_deserialization"}


def unsafe_loading(source: str) -> Iterator[str]:
    """Yield each construct of `source` that can run code from data, as `line: construct`."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            modules = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            modules = [node.module or ""]
            yield from (
                f"{node.lineno}: {node.module}.{alias.name}"
                for alias in node.names
                if (node.module, alias.name) in CODE_LOADERS
            )
        else:
            modules = []
        yield from (
            f"{node.lineno}: import {module}"
            for module in modules
            if module.split(".")[0] in PICKLING_MODULES
        )
        if (
            isinstance(node, ast.Attribute)
            and isinstance(node.value, ast.Name)
            and (node.value.id, node.attr) in CODE_LOADERS
        ):
            yield f"{node.lineno}: {node.value.id}.{node.attr}"
        if (
            isinstance(node, ast.keyword)
            and node.arg in DANGEROUS_FLAGS
            and not (isinstance(node.value, ast.Constant) and node.value.value is False)
        ):
            yield f"{node.value.lineno}: {node.arg}"


@pytest.mark.parametrize(
    "source",
    [
        "import torch\nweights = torch.load('x')",
        "from torch import load",
        "import pickle",
        "from joblib import dump",
        "AutoModel.from_pretrained('x', trust_remote_code=True)",
        "AutoModel.from_pretrained('x', trust_remote_code=flag)",
        "np.load('x', allow_pickle=True)",
    ],
)
def test_unsafe_loading_is_found(source: str) -> None:
    assert list(unsafe_loading(source))


@pytest.mark.parametrize(
    "source",
    [
        "json.load(f)",
        "AutoModel.from_pretrained('x', trust_remote_code=False)",
        "'import pickle'",
        "self.load(path)",
    ],
)
def test_safe_loading_is_not_reported(source: str) -> None:
    assert not list(unsafe_loading(source))


def test_source_has_no_unsafe_loading() -> None:
    found = [
        f"{path.relative_to(ROOT)}:{problem}"
        for path in SHIPPED
        for problem in unsafe_loading(path.read_text(encoding="utf-8"))
    ]
    assert not found


def test_no_file_has_more_than_600_lines() -> None:
    sizes = {
        path: len(path.read_text(encoding="utf-8").splitlines())
        for path in [*SHIPPED, *(ROOT / "tests").rglob("*.py")]
    }
    assert not {str(path.relative_to(ROOT)): lines for path, lines in sizes.items() if lines > 600}


def test_test_file_names_are_unique() -> None:
    names = [path.name for path in (ROOT / "tests").rglob("test_*.py")]
    assert sorted(names) == sorted(set(names))


@pytest.fixture(scope="module")
def tracked() -> list[str]:
    """The files under version control, relative to the root."""
    if not (ROOT / ".git").exists():
        pytest.skip("not a git checkout")
    listing = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True)
    return [name for name in listing.stdout.split("\0") if name]


def test_top_level_has_only_known_entries(tracked: list[str]) -> None:
    assert {name.split("/")[0] for name in tracked} - TOP_LEVEL == set()


def test_no_tracked_file_is_larger_than_12_mib(tracked: list[str]) -> None:
    sizes = {name: (ROOT / name).stat().st_size for name in tracked if (ROOT / name).is_file()}
    assert not {name: size for name, size in sizes.items() if size > 12 * 2**20}


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("see /" + "home/ana/data", True),
        ('"/' + "work/shared" + '"', True),
        ("C:" + "\\Users\\ana", True),
        ("as issue #" + "12 asks", True),
        ("../shared/data and ~/.cache/convemo", False),
        ("https://example.org/home/page", False),
        ("`runs/work/out`", False),
    ],
)
def test_workplace_pattern_finds_machine_paths_and_issue_numbers(text: str, found: bool) -> None:
    assert bool(WORKPLACE.search(text)) is found


def test_no_tracked_file_names_a_machine_path_or_an_issue(tracked: list[str]) -> None:
    found = []
    for name in tracked:
        path = ROOT / name
        if path.suffix in TEXT_SUFFIXES and path.is_file():
            lines = path.read_text(encoding="utf-8").splitlines()
            found += [f"{name}:{number}" for number, line in enumerate(lines, 1) if WORKPLACE.search(line)]
    assert not found
