"""The cells of a study on disk: each says what it was made of, so that a study which goes on takes up only what it would make again.

Where things lie is no part of it: the same base, classifier or corpus in another folder makes the same cell.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from erc.config import ExperimentConfig
from erc.llm.prompts.template import PromptTemplate, prompt_names

MADE = "made"
"""The key of a record under which stands what it was made of."""
_PLACES = (("data", "root"), ("llm", "base"), ("artefact", "init_from"))


def config_digest(config: ExperimentConfig) -> str:
    """Of the resolved configuration, less the places at which base, classifier and corpora lie: what lies there is told by other digests."""
    values = json.loads(config.model_dump_json())
    for section, key in _PLACES:
        if values.get(section):
            values[section].pop(key, None)
    return digest(values)


def prompts_digest() -> str:
    """Of all shipped prompts."""
    return digest([PromptTemplate.load(name, version).sha256 for name, version in prompt_names()])


def digest(value: Any) -> str:
    """16 hex digits of plain data."""
    return hashlib.sha256(json.dumps(value, sort_keys=True, ensure_ascii=True).encode()).hexdigest()[:16]


def read_cell(path: Path) -> dict[str, Any] | None:
    """A finished cell; None where there is none, or none that can be read."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return content if isinstance(content, dict) else None


def current_cell(path: Path, made: Mapping[str, Any]) -> dict[str, Any] | None:
    """A finished cell that was made of `made`."""
    found = read_cell(path)
    return found if found is not None and placeless(found.get(MADE)) == placeless(made) else None


def write_cell(path: Path, content: Mapping[str, Any], made: Mapping[str, Any]) -> dict[str, Any]:
    """Writes a finished cell, whole or not at all, and returns it."""
    record = {MADE: dict(made), **content}
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(path.name + ".part")
    part.write_text(json.dumps(record) + "\n", encoding="utf-8")
    os.replace(part, path)
    return record


def placeless(made: Any) -> Any:
    """What a cell was made of, as plain data, without the folders it names for its reader."""
    if not isinstance(made, Mapping):
        return None
    base = made.get("base")
    if isinstance(base, Mapping) and "commit" not in base:
        made = {**made, "base": {key: value for key, value in base.items() if key != "path"}}
    return json.loads(json.dumps(made))
