"""Finds the modules of the packages, which of them have logic, and which modules a file imports."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
TESTS = ROOT / "tests"
PACKAGES = ("erc", "speakers")


@cache
def module_paths() -> dict[str, Path]:
    """The source file of every module of the packages, by dotted name."""
    found = {}
    for package in PACKAGES:
        for path in sorted((ROOT / package).rglob("*.py")):
            parts = path.relative_to(ROOT).with_suffix("").parts
            found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


def has_logic(source: str) -> bool:
    """Whether a module defines a function or method with a body; methods of a Protocol do not count."""
    return any(_does_something(function) for function in _functions(ast.parse(source)))


def mirrored_folder(module: str) -> Path:
    """The folder for the tests of a module, such as tests/llm for `erc.llm.recipes`."""
    path = module_paths()[module]
    inside = path.parent.relative_to(ROOT)
    return TESTS / (inside.relative_to("erc") if inside.parts[0] == "erc" else inside)


@cache
def imported_modules(path: Path) -> frozenset[str]:
    """The modules that a file imports, at any place in it. A re-exported name counts for its origin."""
    return frozenset(_imports(ast.parse(path.read_text(encoding="utf-8"))))


def unknown_imports(source: str) -> list[str]:
    """The imports from the packages of a name that does not exist, as `line: module.name`."""
    return [
        f"{node.lineno}: {node.module}.{alias.name}"
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.ImportFrom) and (node.module or "").partition(".")[0] in PACKAGES
        for alias in node.names
        if f"{node.module}.{alias.name}" not in module_paths()
        and (node.module not in module_paths() or alias.name not in _defined_names(node.module))
    ]


def _functions(node: ast.AST) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef):
            yield child
        elif not (isinstance(child, ast.ClassDef) and any(_is_protocol(base) for base in child.bases)):
            yield from _functions(child)


def _is_protocol(base: ast.expr) -> bool:
    return "Protocol" in ast.unparse(base).partition("[")[0].split(".")


def _does_something(function: ast.FunctionDef | ast.AsyncFunctionDef) -> bool:
    """False for a body of a docstring, `...` or `pass` alone."""
    return not all(
        isinstance(line, ast.Pass) or (isinstance(line, ast.Expr) and isinstance(line.value, ast.Constant))
        for line in function.body
    )


def _imports(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name in module_paths())
        elif isinstance(node, ast.ImportFrom) and node.module in module_paths():
            yield from (_origin(node.module, alias.name) for alias in node.names)


def _origin(module: str, name: str) -> str:
    """The module that `from module import name` refers to, after following re-exports."""
    if f"{module}.{name}" in module_paths():
        return f"{module}.{name}"
    imported_from = _imported_names(module).get(name)
    return module if imported_from is None else _origin(*imported_from)


@cache
def _defined_names(module: str) -> frozenset[str]:
    """The names that a module binds at its top level, also by import."""
    found = set()
    for node in ast.parse(module_paths()[module].read_text(encoding="utf-8")).body:
        for part in ast.walk(node):
            if isinstance(part, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
                found.add(part.name)
            elif isinstance(part, ast.Name) and isinstance(part.ctx, ast.Store):
                found.add(part.id)
            elif isinstance(part, ast.Import | ast.ImportFrom):
                found |= {alias.asname or alias.name for alias in part.names}
    return frozenset(found)


@cache
def _imported_names(module: str) -> dict[str, tuple[str, str]]:
    """The names that `module` imports from the packages: where from, and the name there."""
    return {
        alias.asname or alias.name: (node.module, alias.name)
        for node in ast.parse(module_paths()[module].read_text(encoding="utf-8")).body
        if isinstance(node, ast.ImportFrom) and node.module in module_paths()
        for alias in node.names
    }
