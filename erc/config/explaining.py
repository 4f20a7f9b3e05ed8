"""Error messages for a refused configuration: the place, the problem, and similar names."""

from __future__ import annotations

import difflib
import re
import typing
from collections.abc import Mapping, Sequence

from pydantic import BaseModel
from pydantic_core import ErrorDetails

from erc.config.experiment import ExperimentConfig
from erc.config.tasks import SCHEMA_VERSION


def place_of(
    loc: tuple[int | str, ...],
    source: str,
    lines: Mapping[tuple[str, ...], int],
    overridden: Mapping[tuple[str, ...], str],
) -> str:
    """The place of the refused value: an override, a line of the file, or the file."""
    path = tuple(str(part) for part in loc)
    for length in range(len(path), 0, -1):
        if path[:length] in overridden:
            return f"override '{overridden[path[:length]]}'"
        if path[:length] in lines:
            return f"{source}:{lines[path[:length]]}"
        # A section that is not in the file comes from an override of one of its keys.
        if (
            within := next((text for key, text in overridden.items() if key[:length] == path[:length]), None)
        ) is not None:
            return f"override '{within}'"
    return source


def explain(found: ErrorDetails) -> str:
    """Describes what is wrong with the value, with known keys or a similar name if there are any."""
    path = [str(part) for part in found["loc"]]
    key, value, context = ".".join(path), found["input"], found.get("ctx", {})
    if found["type"] == "extra_forbidden":
        allowed = _keys_of(path[:-1])
        where = f"section '{'.'.join(path[:-1])}'" if path[:-1] else "the top level"
        return (
            f"unknown key '{key}'{_nearest(path[-1], allowed)}. Known keys of {where}: {', '.join(allowed)}"
        )
    if found["type"] == "missing":
        return f"the key '{key}' is required and missing"
    if found["type"] == "value_error":
        return str(context.get("error", found["msg"]))
    if path == ["schema_version"]:
        return f"schema_version {value!r} is not known: this version reads {SCHEMA_VERSION}"
    near = (
        _nearest(value, re.findall(r"'([^']+)'", str(context.get("expected", ""))))
        if isinstance(value, str)
        else ""
    )
    message = found["msg"][:1].lower() + found["msg"][1:]
    return f"'{key}' is {value!r}, but {message.replace('input ', 'it ', 1)}{near}"


def _nearest(word: str, candidates: Sequence[str]) -> str:
    close = difflib.get_close_matches(word, candidates, n=1, cutoff=0.5)
    return f" (did you mean '{close[0]}'?)" if close else ""


def _keys_of(path: Sequence[str]) -> list[str]:
    """The keys of the section at `path`."""
    model: type[BaseModel] = ExperimentConfig
    parts = iter(path)
    for part in parts:
        annotation = model.model_fields[part].annotation
        if typing.get_origin(annotation) is dict:
            next(parts, None)  # the entry's own name
        options = typing.get_args(annotation) or (annotation,)
        model = next(
            option for option in options if isinstance(option, type) and issubclass(option, BaseModel)
        )
    return list(model.model_fields)
