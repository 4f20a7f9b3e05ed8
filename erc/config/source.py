"""Configuration text: YAML 1.2's numbers, no key twice, the line of every key, and overrides from the command line."""

from __future__ import annotations

import re
from collections.abc import Hashable
from typing import Any

import yaml

from erc.errors import ConfigError


class PlainLoader(yaml.SafeLoader):
    """The safe loader, with 1e-4 read as a number (YAML 1.2) and a key that stands twice refused."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        seen: dict[str, int] = {}
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode):
                continue  # the base class refuses such keys where they cannot be hashed, the schema refuses the rest
            if key.value in seen:
                problem = f"the key '{key.value}' stands twice in one section (first in line {seen[key.value]}): remove one"
                raise yaml.constructor.ConstructorError(None, None, problem, key.start_mark)
            seen[key.value] = key.start_mark.line + 1
        return super().construct_mapping(node, deep=deep)


PlainLoader.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"^[-+]?(\d+\.?\d*|\.\d+)[eE][-+]?\d+$"), list("-+.0123456789")
)


def parse(text: str, source: str) -> tuple[dict[str, Any], dict[tuple[str, ...], int]]:
    """The mapping in `text`, and the line on which each key path stands."""
    try:
        loader = PlainLoader(text)
        try:
            node = loader.get_single_node()
            tree = {} if node is None else loader.construct_document(node)
        finally:
            loader.dispose()
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        place = source if mark is None else f"{source}:{mark.line + 1}"
        raise ConfigError(f"{place}: {complaint(error)}") from None
    if not isinstance(tree, dict):
        raise ConfigError(
            f"{source}: a configuration is a mapping of keys to values, this is a {type(tree).__name__}"
        )
    lines: dict[tuple[str, ...], int] = {}
    _collect_lines(node, (), lines)
    return tree, lines


def _collect_lines(
    node: yaml.Node | None, prefix: tuple[str, ...], lines: dict[tuple[str, ...], int]
) -> None:
    if isinstance(node, yaml.MappingNode) and len(prefix) < 8:  # an alias may point at its own parent
        for key, value in node.value:
            path = (*prefix, str(key.value))
            lines[path] = key.start_mark.line + 1
            _collect_lines(value, path, lines)


def complaint(error: yaml.YAMLError) -> str:
    """What the YAML reader says, without its own picture of the place."""
    said = [part for part in (getattr(error, "context", None), getattr(error, "problem", None)) if part]
    return ", ".join(said) or str(error)


def apply_override(tree: dict[str, Any], override: str) -> tuple[str, ...]:
    """Write one `a.b=value` into `tree` and return its key path."""
    key, equals, text = override.partition("=")
    path = tuple(part.strip() for part in key.split("."))
    if not equals or not all(path):
        raise ConfigError(f"override '{override}': write section.key=value, for example optim.epochs=1")
    try:
        value = yaml.load(text, Loader=PlainLoader)  # a subclass of SafeLoader: plain values only
    except yaml.YAMLError as error:
        raise ConfigError(f"override '{override}': the value is not YAML: {complaint(error)}") from None
    section = tree
    for depth, part in enumerate(path[:-1], start=1):
        if section.get(part) is None:
            section[part] = {}
        section = section[part]
        if not isinstance(section, dict):
            raise ConfigError(f"override '{override}': '{'.'.join(path[:depth])}' is a value, not a section")
    section[path[-1]] = value
    return path
