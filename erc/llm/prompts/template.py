"""Prompt templates: data files with declared variables, rendered in a sandbox, named and hashed.

A template is `prompts/<name>/v<version>.yaml`. Its segments are ordered for reuse of cached prefixes by a
server or a live conversation: fixed parts first, then the growing dialogue, then the parts that change every
turn.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import yaml
from jinja2 import StrictUndefined, TemplateError, meta
from jinja2.sandbox import ImmutableSandboxedEnvironment

from erc.errors import ConfigError
from erc.resources import resource_dir

_KEYS = ("name", "version", "about", "variables", "system", "user", "lead")
_BLANK_LINES = re.compile(r"\n{2,}")


@dataclass(frozen=True, slots=True)
class RenderedPrompt:
    """A prompt for a backend.

    Attributes:
        system: The instruction.
        segments: Named parts of the one user message in cache order; empty parts are left out.
        lead: Words before the answer where the model has no chat template.
        template: The template as `name/v1`.
        template_sha256: Hash of the template file.
        truncated: Whether a part of the target's text is missing.
    """

    system: str
    segments: tuple[tuple[str, str], ...]
    lead: str
    template: str
    template_sha256: str
    truncated: bool = False

    @property
    def user(self) -> str:
        """The user message."""
        return "\n".join(text for _, text in self.segments)

    @property
    def sha256(self) -> str:
        """Hash of everything a model reads; the key of caches."""
        content = json.dumps(
            [self.system, self.segments, self.lead, self.template, self.template_sha256], ensure_ascii=False
        )
        return hashlib.sha256(content.encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class PromptTemplate:
    """One template file.

    Attributes:
        name: Name of the prompt.
        version: Version of the prompt.
        sha256: Hash of the file.
        variables: Declared variables with their meanings.
        system: Source of the instruction.
        user: Sources of the named parts of the user message.
        lead: Words before the answer where the model has no chat template.
        path: Path of the file.
    """

    name: str
    version: int
    sha256: str
    variables: Mapping[str, str]
    system: str
    user: Mapping[str, str]
    lead: str
    path: Path = field(compare=False)

    @property
    def id(self) -> str:
        """`name/v1`, as predictions and artefacts name it."""
        return f"{self.name}/v{self.version}"

    @classmethod
    def load(cls, name: str, version: int | None = None, *, folder: Path | None = None) -> PromptTemplate:
        """Reads and checks a version of a prompt.

        `version` None takes the newest; `folder` None takes the shipped prompts.

        Raises:
            ConfigError: the file is missing or unreadable, has unknown or missing keys or invalid Jinja,
                uses an undeclared variable, or declares an unused one. The message names file and key.
        """
        root = resource_dir("prompts") if folder is None else folder
        version = _newest(root / name) if version is None else version
        path = root / name / f"v{version}.yaml"
        try:
            raw = path.read_bytes()
            record = yaml.safe_load(raw)
        except FileNotFoundError:
            known = sorted(f"{found.parent.name}/{found.stem}" for found in root.glob("*/v*.yaml"))
            raise ConfigError(
                f"{path}: there is no such prompt; there are {', '.join(known) or 'none'}"
            ) from None
        except yaml.YAMLError as error:
            raise ConfigError(f"{path}: not readable as YAML: {error}") from None
        _check_record(record, path, name, version)
        template = cls(
            name=name,
            version=version,
            sha256=hashlib.sha256(raw).hexdigest(),
            variables=record["variables"],
            system=record["system"],
            user=record["user"],
            lead=record["lead"],
            path=path,
        )
        template._check_variables()
        return template

    @classmethod
    def from_id(cls, prompt_id: str) -> PromptTemplate:
        """Loads the version that an id such as `erc/v1` names, whether or not newer versions exist.

        Raises:
            ConfigError: the id is malformed, or as in `load`.
        """
        name, _, version = prompt_id.partition("/v")
        if not name.isidentifier() or not version.isdecimal():
            raise ConfigError(f"'{prompt_id}' is no prompt id: write NAME/vNUMBER, such as erc/v1")
        return cls.load(name, int(version))

    def render(self, **values: Any) -> RenderedPrompt:
        """Fills the template.

        Raises:
            ConfigError: a variable is missing, undeclared, or lacks an attribute that the template uses.
        """
        missing, unknown = self.variables.keys() - values.keys(), values.keys() - self.variables.keys()
        if missing or unknown:
            parts = [f"without a value: {', '.join(sorted(missing))}"] if missing else []
            parts += [f"not declared: {', '.join(sorted(unknown))}"] if unknown else []
            raise ConfigError(f"{self.path}: variables {'; '.join(parts)}")
        rendered = [
            (name, self._render(f"user.{name}", source, values)) for name, source in self.user.items()
        ]
        return RenderedPrompt(
            system=self._render("system", self.system, values),
            segments=tuple((name, text) for name, text in rendered if text),
            lead=self.lead,
            template=self.id,
            template_sha256=self.sha256,
        )

    def _sources(self) -> dict[str, str]:
        return {"system": self.system, **{f"user.{name}": source for name, source in self.user.items()}}

    def _render(self, key: str, source: str, values: Mapping[str, Any]) -> str:
        try:
            text = _compiled(source).render(values)
        except TemplateError as error:
            raise ConfigError(f"{self.path}: key '{key}': {error.message}") from None
        return _BLANK_LINES.sub("\n", text).strip("\n ")

    def _check_variables(self) -> None:
        used: set[str] = set()
        for key, source in self._sources().items():
            try:
                names = meta.find_undeclared_variables(_environment().parse(source))
            except TemplateError as error:
                raise ConfigError(
                    f"{self.path}: key '{key}' is not a Jinja template: {error.message}"
                ) from None
            if undeclared := sorted(names - self.variables.keys()):
                raise ConfigError(
                    f"{self.path}: key '{key}' uses {', '.join(undeclared)}, which is not declared under "
                    "'variables'"
                )
            used |= names
        if unused := sorted(self.variables.keys() - used):
            raise ConfigError(f"{self.path}: 'variables' declares {', '.join(unused)}, which no segment uses")


def prompt_names() -> tuple[tuple[str, int], ...]:
    """(name, version) of every shipped prompt, sorted."""
    return tuple(
        sorted((path.parent.name, int(path.stem[1:])) for path in resource_dir("prompts").glob("*/v*.yaml"))
    )


def _newest(folder: Path) -> int:
    """The highest version in a prompt's folder; 1 for an empty folder."""
    return max(
        (int(path.stem[1:]) for path in folder.glob("v*.yaml") if path.stem[1:].isdecimal()), default=1
    )


@cache
def _environment() -> ImmutableSandboxedEnvironment:
    # Prompts are no HTML, so nothing is escaped. `erc.llm.prompts.sanitize` has made user text safe before.
    return ImmutableSandboxedEnvironment(
        undefined=StrictUndefined, autoescape=False, trim_blocks=True, lstrip_blocks=True
    )


@cache
def _compiled(source: str) -> Any:
    return _environment().from_string(source)


def _check_record(record: Any, path: Path, name: str, version: int) -> None:
    if not isinstance(record, dict):
        raise ConfigError(f"{path}: a prompt is a mapping with the keys {', '.join(_KEYS)}")
    for key in _KEYS:
        if key not in record:
            raise ConfigError(f"{path}: the key '{key}' is missing")
    if unknown := sorted(record.keys() - set(_KEYS)):
        raise ConfigError(f"{path}: unknown key '{unknown[0]}'; the keys are {', '.join(_KEYS)}")
    if (record["name"], record["version"]) != (name, version):
        raise ConfigError(
            f"{path}: keys 'name' and 'version' say {record['name']}/v{record['version']}, the file's place "
            f"says {name}/v{version}"
        )
    for key in ("variables", "user"):
        if not isinstance(record[key], dict) or not all(
            isinstance(value, str) for value in record[key].values()
        ):
            raise ConfigError(f"{path}: the key '{key}' must map names to texts")
    for key in ("system", "lead", "about"):
        if not isinstance(record[key], str):
            raise ConfigError(f"{path}: the key '{key}' must be a text")
