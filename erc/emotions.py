"""Label sets of emotions, and maps of probabilities between them.

Sets and maps are JSON files in `erc/ontology`. Each names its source. A map also says whether it was
published with a corpus or chosen by this project, and whether it loses information. Maps apply to
probabilities, not to labels, because merging classes after the argmax gives other results than merging their
probabilities.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal, get_args

import numpy as np

from erc.errors import ConfigError, InputError

_ONTOLOGY = Path(__file__).resolve().parent / "ontology"
_TOLERANCE = 1e-4  # float32 sums of 28 probabilities leave [0, 1] by less than this

Provenance = Literal["published", "project"]


@dataclass(frozen=True, slots=True)
class EmotionSet:
    """The labels of one taxonomy, in the order of a model's outputs.

    Attributes:
        name: The name of its file.
        labels: The labels, each once.
        neutral: The label for no emotion; None if a turn without emotion has no label.
        multi_label: Whether several labels may hold at once, so that probabilities are independent. Otherwise
            they are a distribution.
        source: Where the set comes from.
        aliases: Other spellings of labels.
        same_labels_as: A set with the same labels in the same order, whose maps are used for this one too.

    Raises:
        ConfigError: for missing or repeated labels, an unknown neutral label, or a wrong alias.
    """

    name: str
    labels: tuple[str, ...]
    neutral: str | None
    multi_label: bool
    source: str
    aliases: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}), hash=False)
    same_labels_as: str | None = None

    def __post_init__(self) -> None:
        if not self.labels or len(set(self.labels)) != len(self.labels):
            raise ConfigError(f"emotion set {self.name}: labels must exist and differ, got {self.labels}")
        if self.neutral is not None and self.neutral not in self.labels:
            raise ConfigError(
                f"emotion set {self.name}: the neutral label {self.neutral!r} is not one of {self.labels}"
            )
        for alias, label in self.aliases.items():
            if label not in self.labels or alias in self.labels:
                raise ConfigError(
                    f"emotion set {self.name}: alias {alias!r} -> {label!r} "
                    "must map a new spelling to a label"
                )

    def __len__(self) -> int:
        return len(self.labels)

    def canonical(self, label: str) -> str:
        """The label in this set's spelling, for any case and known alias.

        Raises:
            InputError: for an unknown label; lists the labels.
        """
        spelled = label.strip().casefold()
        if spelled in self.labels:
            return spelled
        if spelled in self.aliases:
            return self.aliases[spelled]
        raise InputError(
            f"{label!r} is not an emotion of '{self.name}'; its labels are {', '.join(self.labels)}"
        )

    def index(self, label: str) -> int:
        """The position of `label`, in any known spelling, among the outputs.

        Raises:
            InputError: for an unknown label.
        """
        return self.labels.index(self.canonical(label))


@dataclass(frozen=True, slots=True)
class EmotionMap:
    """Maps probabilities over `source` to probabilities over `target`.

    Attributes:
        source: The set of the input.
        target: The set of the output.
        provenance: `published` with a corpus, or chosen by this `project`.
        lossy: Whether it merges or drops labels.
        notes: Remarks for readers.
        assignment: The target position of each source label. None drops the label, which only multi-label
            sources may do, because a distribution must keep its total.
        rest: For multi-label sources, the target position of the probability that no source label holds.

    Raises:
        ConfigError: for an assignment that contradicts the sets, or a lossy map that does not say so.
    """

    source: EmotionSet
    target: EmotionSet
    provenance: Provenance
    lossy: bool
    notes: str
    assignment: tuple[int | None, ...]
    rest: int | None = None

    def __post_init__(self) -> None:
        where = f"emotion map {self.source.name} -> {self.target.name}"
        if self.provenance not in get_args(Provenance):
            raise ConfigError(
                f"{where}: provenance must be one of {get_args(Provenance)}, got {self.provenance!r}"
            )
        if len(self.assignment) != len(self.source):
            raise ConfigError(f"{where}: {len(self.assignment)} assignments for {len(self.source)} labels")
        if any(
            place is not None and not 0 <= place < len(self.target) for place in (*self.assignment, self.rest)
        ):
            raise ConfigError(f"{where}: an assignment points outside the {len(self.target)} target labels")
        if not self.source.multi_label and (None in self.assignment or self.rest is not None):
            raise ConfigError(
                f"{where}: every label of a single-label source needs a target, and there is no rest"
            )
        merges = len(set(self.assignment)) < len(self.assignment) or None in self.assignment
        if merges and not self.lossy:
            raise ConfigError(f"{where}: it merges or drops labels, so it must be lossy")

    def apply(self, probabilities: np.ndarray) -> np.ndarray:
        """Map probabilities of shape (..., C_source) to shape (..., C_target).

        Classes of a single-label source exclude each other, so their probabilities are added. Labels of a
        multi-label source are treated as independent, so a group has the probability 1 - prod(1 - p).

        Raises:
            ValueError: for another last dimension, or for values outside [0, 1].
        """
        values = np.asarray(probabilities)
        if values.ndim == 0 or values.shape[-1] != len(self.source):
            raise ValueError(
                f"probabilities of shape {values.shape}: the last dimension must be {len(self.source)} "
                f"({self.source.name})"
            )
        if not np.all((values >= -_TOLERANCE) & (values <= 1 + _TOLERANCE)):
            raise ValueError(
                f"probabilities must be in [0, 1], not logits (map {self.source.name} -> {self.target.name})"
            )
        values = np.clip(values, 0.0, 1.0)
        if not np.issubdtype(values.dtype, np.floating):
            values = values.astype(np.float64)
        mapped = [self._column(values, place) for place in range(len(self.target))]
        return np.clip(np.stack(mapped, axis=-1), 0.0, 1.0)

    def _column(self, values: np.ndarray, place: int) -> np.ndarray:
        members = [i for i, assigned in enumerate(self.assignment) if assigned == place]
        if not self.source.multi_label:
            return values[..., members].sum(axis=-1)
        none_holds = np.prod(1.0 - values[..., members], axis=-1)
        if place == self.rest:
            none_holds = none_holds * (1.0 - np.prod(1.0 - values, axis=-1))
        return 1.0 - none_holds

    def then(self, other: EmotionMap, *, provenance: Provenance, lossy: bool, notes: str) -> EmotionMap:
        """This map followed by `other`, as one map.

        Raises:
            ConfigError: when `other` has other source labels, or a `rest`.
        """
        if other.source.labels != self.target.labels or other.rest is not None:
            raise ConfigError(
                f"maps {self.source.name} -> {self.target.name} and "
                f"{other.source.name} -> {other.target.name} do not compose"
            )
        assignment = tuple(None if place is None else other.assignment[place] for place in self.assignment)
        rest = None if self.rest is None else other.assignment[self.rest]
        return EmotionMap(self.source, other.target, provenance, lossy, notes, assignment, rest)


def emotion_sets() -> tuple[str, ...]:
    """Names of the label sets, in alphabetical order."""
    return tuple(sorted(path.stem for path in (_ONTOLOGY / "sets").glob("*.json")))


@cache
def load_emotion_set(name: str) -> EmotionSet:
    """Load the label set `name`.

    Raises:
        ConfigError: for an unknown name (lists the sets), or an invalid file.
    """
    if name not in emotion_sets():
        raise ConfigError(f"no emotion set '{name}'; there are {', '.join(emotion_sets())}")
    record = _read(_ONTOLOGY / "sets" / f"{name}.json")
    record["labels"] = tuple(record["labels"])
    record["aliases"] = MappingProxyType(record["aliases"])
    loaded = EmotionSet(name=name, **record)
    twin = loaded.same_labels_as
    if twin is not None and load_emotion_set(twin).labels != loaded.labels:
        raise ConfigError(f"emotion set {name}: its labels differ from those of {twin}")
    return loaded


def emotion_maps() -> tuple[tuple[str, str], ...]:
    """The (source, target) pairs of the map files."""
    stems = sorted(path.stem for path in (_ONTOLOGY / "maps").glob("*.json"))
    return tuple((source, target) for source, _, target in (stem.partition("__") for stem in stems))


@cache
def load_emotion_map(source: str, target: str) -> EmotionMap:
    """Load the map from `source` to `target`; the identity if both have the same labels.

    A set with the labels of another (`meld` and `ekman`) uses the other's maps. Maps are composed only if a
    map file names the set in between.

    Raises:
        ConfigError: for an unknown set, or when there is no map (lists those from `source`).
    """
    from_set, to_set = load_emotion_set(source), load_emotion_set(target)
    if _base(from_set) == _base(to_set):
        return EmotionMap(
            from_set, to_set, "published", False, "The labels are the same.", tuple(range(len(from_set)))
        )
    declared = {(_base(load_emotion_set(a)), _base(load_emotion_set(b))): (a, b) for a, b in emotion_maps()}
    pair = declared.get((_base(from_set), _base(to_set)))
    if pair is None:
        bases = (*sorted(b for a, b in declared if a == _base(from_set)), _base(from_set))
        twins = [
            name
            for name in emotion_sets()
            if name not in (source, *bases) and _base(load_emotion_set(name)) in bases
        ]
        reachable = [name for name in (*bases, *twins) if name != source]
        raise ConfigError(
            f"no map from '{source}' to '{target}'; from '{source}' there are maps to "
            f"{', '.join(reachable) or 'no other set'}"
        )
    return _build_map(_read(_ONTOLOGY / "maps" / f"{pair[0]}__{pair[1]}.json"), from_set, to_set)


def _build_map(record: dict[str, Any], source: EmotionSet, target: EmotionSet) -> EmotionMap:
    says: dict[str, Any] = {key: record[key] for key in ("provenance", "lossy", "notes")}
    if "via" in record:
        first, second = (
            load_emotion_map(source.name, record["via"]),
            load_emotion_map(record["via"], target.name),
        )
        return first.then(second, **says)
    where = f"emotion map {source.name} -> {target.name}"
    if set(record["groups"]) != set(target.labels):
        raise ConfigError(
            f"{where}: groups {sorted(record['groups'])} must be the labels {sorted(target.labels)}"
        )
    placed: list[tuple[str, int | None]] = [
        (label, target.labels.index(goal)) for goal, members in record["groups"].items() for label in members
    ]
    placed += [(label, None) for label in record.get("dropped", [])]
    if sorted(label for label, _ in placed) != sorted(source.labels):
        raise ConfigError(f"{where}: every label of {source.name} must be in groups or dropped exactly once")
    places = dict(placed)
    rest = target.labels.index(record["rest"]) if "rest" in record else None
    return EmotionMap(
        source, target, assignment=tuple(places[label] for label in source.labels), rest=rest, **says
    )


def _base(labels: EmotionSet) -> str:
    return labels.same_labels_as or labels.name


def _read(path: Path) -> dict[str, Any]:
    return json.loads(path.read_text(encoding="utf-8"))
