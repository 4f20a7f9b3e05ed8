"""Name maps: which written names denote one person, everywhere or in one conversation."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any

from speakers.errors import InvalidRecordError
from speakers.names import normalise


@dataclass(frozen=True, slots=True)
class NameMap:
    """Maps written names to people. A mapped name is a person even if it looks generic.

    `everywhere` maps normalised names. `conversations` does so for single conversations and takes precedence.
    """

    everywhere: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    conversations: Mapping[str, Mapping[str, str]] = field(default_factory=lambda: MappingProxyType({}))

    def lookup(self, name: str, conversation_id: str) -> str | None:
        """The person's name for a written name, or None if it is not mapped.

        Raises:
            InvalidRecordError: the name cannot be stored (see `speakers.names.normalise`).
        """
        key = normalise(name)
        return self.conversations.get(conversation_id, {}).get(key) or self.everywhere.get(key)

    @classmethod
    def of(cls, data: Mapping[str, Any]) -> NameMap:
        """A map from plain data: `{person: [alias, ...]}` and `{alias: person}`.

        The key `conversations` holds such a mapping for each conversation id.

        Raises:
            InvalidRecordError: a value has another type, or an alias names two people.
        """
        inner = data.get("conversations", {})
        if not isinstance(inner, Mapping) or not all(isinstance(value, Mapping) for value in inner.values()):
            raise InvalidRecordError("'conversations' of a name map needs one mapping per conversation id")
        everywhere = _flatten(
            {key: value for key, value in data.items() if key != "conversations"}, "the name map"
        )
        return cls(
            everywhere,
            {
                str(key): _flatten(value, f"conversation {key!r} of the name map")
                for key, value in inner.items()
            },
        )

    @classmethod
    def read(cls, path: str | Path) -> NameMap:
        """A map from a YAML or JSON file.

        Raises:
            InvalidRecordError: the file cannot be read or is not a name map.
        """
        import yaml

        try:
            data = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
        except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
            raise InvalidRecordError(f"{path}: cannot be read as a name map: {error}") from None
        if not isinstance(data, Mapping):
            raise InvalidRecordError(
                f"{path}: a name map is a mapping of names, for example 'Monica Geller: [Monica, Mon]'"
            )
        try:
            return cls.of(data)
        except InvalidRecordError as error:
            raise InvalidRecordError(f"{path}: {error}") from None


def _flatten(data: Mapping[str, Any], place: str) -> dict[str, str]:
    flat: dict[str, str] = {}
    for key, value in data.items():
        if isinstance(value, str):
            pairs = [(str(key), value)]
        elif isinstance(value, list) and all(isinstance(alias, str) for alias in value):
            pairs = [(alias, str(key)) for alias in [str(key), *value]]
        else:
            raise InvalidRecordError(f"{place}: {key!r} needs a name or a list of aliases, not {value!r}")
        for alias, person in pairs:
            taken = flat.setdefault(normalise(alias), person)
            if taken != person:
                raise InvalidRecordError(f"{place}: {alias!r} names both {taken!r} and {person!r}")
    return flat
