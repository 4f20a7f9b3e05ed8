"""Reads configuration text: YAML 1.2 numbers, unique keys, the line of every key, and overrides."""

from __future__ import annotations

import re
from collections.abc import Hashable
from typing import Any

import yaml

from erc.errors import ConfigError


class PlainLoader(yaml.SafeLoader):
    """The safe loader; reads 1e-4 as a number (YAML 1.2) and refuses a repeated key."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        """Builds a mapping.

        Raises:
            yaml.constructor.ConstructorError: For a repeated key.
        """
        seen: dict[str, int] = {}
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode):
                continue  # the base class refuses unhashable keys, the schema all others
            if key.value in seen:
                first = seen[key.value]
                problem = (
                    f"the key '{key.value}' is repeated in one section (first in line {first}): remove one"
                )
                raise yaml.constructor.ConstructorError(None, None, problem, key.start_mark)
            seen[key.value] = key.start_mark.line + 1
        return super().construct_mapping(node, deep=deep)


PlainLoader.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"^[-+]?(\d+\.?\d*|\.\d+)[eE][-+]?\d+$"), list("-+.0123456789")
)


def parse(text: str, source: str) -> tuple[dict[str, Any], dict[tuple[str, ...], int]]:
    """The mapping in `text`, and the line of each key path.

    Raises:
        ConfigError: For text that is not YAML or not a mapping; `source` names the file in the message.
    """
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
    if isinstance(node, yaml.MappingNode) and len(prefix) < 8:  # an alias may point to its own parent
        for key, value in node.value:
            path = (*prefix, str(key.value))
            lines[path] = key.start_mark.line + 1
            _collect_lines(value, path, lines)


def complaint(error: yaml.YAMLError) -> str:
    """The message of the YAML reader, without its excerpt of the text."""
    said = [part for part in (getattr(error, "context", None), getattr(error, "problem", None)) if part]
    return ", ".join(said) or str(error)


def apply_override(tree: dict[str, Any], override: str) -> tuple[str, ...]:
    """Writes one `a.b=value` into `tree` and returns its key path.

    Raises:
        ConfigError: For an override of another form, a value that is not YAML, or a path that leads through a
            value.
    """
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
