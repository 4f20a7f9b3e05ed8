"""TODO."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, get_args

from erc.errors import ArtefactError
from erc.persistence.delta import DeltaKind
from erc.persistence.layout import (
    LAYOUT,
    read_json,
)

FORMAT = 1


@dataclass(frozen=True, slots=True)
class ArtefactInfo:
    """Everything about a model that is not a weight: what it is, what it was trained from, on and with.

    `architecture` are the arguments that build the network, `config` the exact resolved configuration of the
    run, `data` the SHA-256 of every corpus file, `uncertainty` the default Monte-Carlo settings (samples,
    mode, top_k), `reads` what a conversation model reads beside the text (its shared classifier and that
    one's hash, how speakers are written, how far a history goes back).
    """

    kind: str
    name: str
    emotion_set: str
    labels: tuple[str, ...]
    base: str
    architecture: Mapping[str, Any]
    version: int = 1
    delta: DeltaKind = "int4"
    hidden_dropout: float = 0.1
    max_tokens: int = 96
    uncertainty: Mapping[str, Any] = field(default_factory=dict)
    config: Mapping[str, Any] = field(default_factory=dict)
    data: Mapping[str, str] = field(default_factory=dict)
    licences: tuple[str, ...] = ()
    base_sha256: str | None = None
    """Of the base encoder's weights; a difference over other weights would be silently wrong."""
    reads: Mapping[str, Any] = field(default_factory=dict)
    versions: Mapping[str, str] = field(default_factory=dict)
    format: int = FORMAT

    @property
    def identity(self) -> str:
        """`name@version`, as it stands in every record."""
        return f"{self.name}@{self.version}"

    @property
    def shares_encoder(self) -> bool:
        """Whether it is a conversation model whose turns are read by its shared classifier's encoder, so that it stores none."""
        return self.architecture.get("encoder") == "shared"


def load_info(folder: Path) -> ArtefactInfo:
    """The description of a model folder, without its weights. Raises ArtefactError where it is of another version."""
    raw = read_json(folder / LAYOUT.info)
    if not isinstance(raw, dict):
        raise ArtefactError(f"{folder / LAYOUT.info} does not describe a model")
    if raw.get("format") != FORMAT:
        raise ArtefactError(
            f"{folder} has format {raw.get('format')}, this version of convemo reads format {FORMAT}: install the version that wrote it"
        )
    try:
        info = ArtefactInfo(
            **{**raw, "labels": tuple(raw["labels"]), "licences": tuple(raw.get("licences", ()))}
        )
    except (TypeError, KeyError) as error:
        raise ArtefactError(f"{folder / LAYOUT.info} does not describe a model ({error})") from error
    if info.delta not in get_args(DeltaKind):
        raise ArtefactError(
            f"{folder / LAYOUT.info} says delta '{info.delta}', known are: {', '.join(get_args(DeltaKind))}"
        )
    return info
