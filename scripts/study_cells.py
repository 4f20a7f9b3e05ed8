"""The results of a study on disk, one JSON record per cell (one training run and its figures).

A record holds the inputs it was made from, so that a resumed study repeats only cells whose inputs changed.
Folders are not inputs: the same base, classifier or corpus in another folder gives the same cell.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from erc.config import ExperimentConfig
from erc.files import save_record
from erc.llm.prompts.template import PromptTemplate, prompt_names

MADE = "made"
"""The key of a record that holds its inputs."""
_PLACES = (("data", "root"), ("llm", "base"), ("artefact", "init_from"))


def config_digest(config: ExperimentConfig) -> str:
    """Return a digest of the resolved configuration without the folders of base, classifier and corpora.

    Their contents have digests of their own.
    """
    values = json.loads(config.model_dump_json())
    for section, key in _PLACES:
        if values.get(section):
            values[section].pop(key, None)
    return digest(values)


def prompts_digest() -> str:
    """Return a digest of all shipped prompts."""
    return digest([PromptTemplate.load(name, version).sha256 for name, version in prompt_names()])


def digest(value: Any) -> str:
    """Return 16 hexadecimal digits that identify a value of plain JSON types."""
    return hashlib.sha256(json.dumps(value, sort_keys=True, ensure_ascii=True).encode()).hexdigest()[:16]


def read_cell(path: Path) -> dict[str, Any] | None:
    """Read a finished cell; None if the file is missing or damaged."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return content if isinstance(content, dict) else None


def current_cell(path: Path, made: Mapping[str, Any]) -> dict[str, Any] | None:
    """Read a finished cell that was made from the inputs `made`; None if there is none."""
    found = read_cell(path)
    return found if found is not None and placeless(found.get(MADE)) == placeless(made) else None


def write_cell(path: Path, content: Mapping[str, Any], made: Mapping[str, Any]) -> dict[str, Any]:
    """Write a finished cell with its inputs, atomically. Returns the record."""
    record = {MADE: dict(made), **content}
    path.parent.mkdir(parents=True, exist_ok=True)
    save_record(record, path)
    return record


def placeless(made: Any) -> Any:
    """Return the inputs of a cell as plain data, without the folder of the base model."""
    if not isinstance(made, Mapping):
        return None
    base = made.get("base")
    if isinstance(base, Mapping) and "commit" not in base:
        made = {**made, "base": {key: value for key, value in base.items() if key != "path"}}
    return json.loads(json.dumps(made))
