"""The description of a model: `artefact.json`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, get_args

from erc.errors import ArtefactError
from erc.persistence.delta import DeltaKind
from erc.persistence.layout import LAYOUT, read_json

FORMAT = 1


@dataclass(frozen=True, slots=True)
class ArtefactInfo:
    """Everything about a model except its weights.

    Attributes:
        kind: A key of `MODEL_KINDS` in `erc.persistence.networks`.
        name: Name of the model.
        emotion_set: Name of the emotion set the model predicts.
        labels: The labels in the order of the outputs.
        base: Hub id or folder of the base encoder.
        architecture: The arguments that build the network.
        version: Version of the model.
        delta: How the difference to the base encoder is stored.
        hidden_dropout: Dropout of the encoder.
        max_tokens: Tokens of one turn, special tokens included.
        uncertainty: Default Monte-Carlo settings: `samples`, `mode` and `top_k`.
        config: The resolved configuration of the run.
        data: SHA-256 of every corpus file.
        licences: Licences of the training data.
        base_sha256: SHA-256 of the base encoder's weights. A difference to other weights gives wrong results
            without an error.
        reads: Inputs of a conversation model besides the text: its utterance classifier, how speakers are
            written, how long a history is.
        versions: Versions of libraries.
        format: Format of the folder.
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
    reads: Mapping[str, Any] = field(default_factory=dict)
    versions: Mapping[str, str] = field(default_factory=dict)
    format: int = FORMAT

    @property
    def identity(self) -> str:
        """`name@version`, as in every record."""
        return f"{self.name}@{self.version}"


def load_info(folder: Path) -> ArtefactInfo:
    """The description of a model folder, without its weights.

    Raises:
        ArtefactError: For a missing or damaged description, or one of another format.
    """
    raw = read_json(folder / LAYOUT.info)
    if not isinstance(raw, dict):
        raise ArtefactError(f"{folder / LAYOUT.info} does not describe a model")
    if raw.get("format") != FORMAT:
        raise ArtefactError(
            f"{folder} has format {raw.get('format')}, this version of convemo reads format {FORMAT}: "
            "install the version that wrote it"
        )
    try:
        info = ArtefactInfo(
            **{**raw, "labels": tuple(raw["labels"]), "licences": tuple(raw.get("licences", ()))}
        )
    except (TypeError, KeyError) as error:
        raise ArtefactError(f"{folder / LAYOUT.info} does not describe a model ({error})") from error
    if info.delta not in get_args(DeltaKind):
        raise ArtefactError(
            f"{folder / LAYOUT.info} has delta '{info.delta}', known are: {', '.join(get_args(DeltaKind))}"
        )
    return info
