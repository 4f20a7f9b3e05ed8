"""Saves and loads a trained model as a self-describing folder.

Weights, calibrator, thresholds and decision policy are separate files, so each can be replaced alone. The
folder has no code: weights are safetensors, the rest is JSON. Every file is checked against the manifest
before it is parsed.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from importlib.metadata import version as package_version
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from transformers import AutoTokenizer, PreTrainedTokenizerBase

from erc.errors import ArtefactError
from erc.models.encoder.encoder import Encoder, file_sha256, load_encoder, resolve_encoder
from erc.persistence.delta import decode, encode
from erc.persistence.info import ArtefactInfo, load_info
from erc.persistence.layout import (
    LAYOUT,
    check_manifest,
    read_json,
    replace_folder,
    write_json,
    write_manifest,
)
from erc.persistence.networks import build_network, shares_encoder


@dataclass(frozen=True, slots=True)
class Artefact:
    """A loaded model.

    Attributes:
        info: The description of the model.
        network: The network, in evaluation mode and fp32.
        tokenizer: The tokenizer of its encoder.
        calibrator: The JSON record of the calibrator.
        thresholds: The JSON record of the decision thresholds per label, if any.
        policy: The JSON records of the decision policies by emotion set, if any.
        metrics: Figures of the training run.
        folder: The model folder.
        sha256: Digest of everything the output depends on: weights, calibrator, tokenizer, architecture.
        shared: The classifier whose encoder the network uses (the same object), if it has none of its own.
    """

    info: ArtefactInfo
    network: nn.Module
    tokenizer: PreTrainedTokenizerBase
    calibrator: Mapping[str, Any]
    thresholds: Mapping[str, Any] | None
    policy: Mapping[str, Any] | None
    metrics: Mapping[str, Any]
    folder: Path
    sha256: str
    shared: Artefact | None = None


def installed_versions() -> dict[str, str]:
    """Versions of the libraries that a result depends on."""
    return {
        name: package_version(name)
        for name in ("torch", "transformers", "tokenizers", "safetensors", "numpy", "scikit-learn")
    }


def save_artefact(
    folder: Path,
    *,
    info: ArtefactInfo,
    network: nn.Module,
    tokenizer: PreTrainedTokenizerBase,
    calibrator: Mapping[str, Any],
    thresholds: Mapping[str, Any] | None,
    policy: Mapping[str, Any] | None,
    metrics: Mapping[str, Any],
    card: str,
) -> Path:
    """Writes a model folder and returns it; after a crash the folder is either the old or the new one.

    Raises:
        ArtefactError: For weights that are not finite, a base encoder that is missing or has other weights,
            or a `folder` that is neither empty nor a model folder.
        OSError: If the folder cannot be written.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
    try:
        _set_default_permissions(temporary)
        if info.delta != "none" and info.base_sha256 is None:
            info = replace(info, base_sha256=file_sha256(base_file(info.base)))
        write_json(temporary / LAYOUT.info, asdict(info))
        weights = {name: value.detach().cpu().float() for name, value in network.state_dict().items()}
        save_file(encode(weights, base_weights(info, network), info.delta), temporary / LAYOUT.weights)
        if info.delta == "none" and not shares_encoder(info):
            _encoder_of(network).config.save_pretrained(temporary / LAYOUT.encoder_config)
        tokenizer.save_pretrained(temporary)
        for name, value in (
            (LAYOUT.calibrator, calibrator),
            (LAYOUT.thresholds, thresholds),
            (LAYOUT.policy, policy),
            (LAYOUT.metrics, metrics),
        ):
            if value is not None:
                write_json(temporary / name, value)
        (temporary / LAYOUT.card).write_text(card, encoding="utf-8")
        write_manifest(temporary)
        replace_folder(temporary, folder)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise
    return folder


def load_artefact(folder: Path, *, shared: Artefact | None = None) -> Artefact:
    """Checks and loads a model folder, offline.

    `shared` is the utterance classifier of a model that has no encoder of its own.

    Raises:
        ArtefactError: For a folder that is incomplete, altered or of another format, and for a model that
            needs `shared` if it is None.
    """
    stored = check_manifest(folder)
    info = load_info(folder)
    # All that the output depends on. A new card or a refitted policy does not change the digest.
    described = json.dumps(
        [info.kind, info.base, info.labels, dict(info.architecture), info.max_tokens], sort_keys=True
    )
    sha256 = hashlib.sha256((stored + described).encode()).hexdigest()
    network = build_network(_encoder_for(folder, info, shared), info)
    try:
        weights = decode(load_file(folder / LAYOUT.weights), base_weights(info, network))
        network.load_state_dict(weights, strict=True)
    except (RuntimeError, OSError, ValueError, SafetensorError) as error:
        raise ArtefactError(
            f"{folder / LAYOUT.weights} does not fit the network that artefact.json describes: {error}"
        ) from error
    return Artefact(
        info=info,
        network=network.eval(),
        tokenizer=load_saved_tokenizer(folder),
        calibrator=read_json(folder / LAYOUT.calibrator),
        thresholds=read_json(folder / LAYOUT.thresholds) if (folder / LAYOUT.thresholds).exists() else None,
        policy=read_json(folder / LAYOUT.policy) if (folder / LAYOUT.policy).exists() else None,
        metrics=read_json(folder / LAYOUT.metrics),
        folder=folder,
        sha256=sha256,
        shared=shared if shares_encoder(info) else None,
    )


def _encoder_for(folder: Path, info: ArtefactInfo, shared: Artefact | None) -> Encoder:
    """The encoder of a model, with the weights of its base or of its utterance classifier."""
    if shares_encoder(info):
        if shared is None:
            raise ArtefactError(
                f"{info.identity} has no encoder of its own: "
                f"load it together with {info.reads.get('utterance_model')}"
            )
        return _encoder_of(shared.network)
    if info.delta == "none":
        return load_encoder(
            str(folder / LAYOUT.encoder_config), hidden_dropout=info.hidden_dropout, pretrained=False
        )
    return load_encoder(info.base, hidden_dropout=info.hidden_dropout)


def _set_default_permissions(folder: Path) -> None:
    """Gives a folder the user's default permissions; a temporary folder is readable by its owner alone."""
    sibling = folder / "permissions"
    sibling.mkdir()
    folder.chmod(sibling.stat().st_mode & 0o777)
    sibling.rmdir()


def load_saved_tokenizer(folder: Path) -> PreTrainedTokenizerBase:
    """The tokenizer of a model folder.

    Raises:
        ArtefactError: For a tokenizer that cannot be read, or that asks to run its own code.
    """
    if "auto_map" in read_json(folder / "tokenizer_config.json"):
        raise ArtefactError(
            f"{folder / 'tokenizer_config.json'} asks to run its own code (auto_map); such tokenizers are "
            "refused"
        )
    try:
        return AutoTokenizer.from_pretrained(folder, trust_remote_code=False, local_files_only=True)
    except Exception as error:  # the library's parsers raise many kinds of exceptions
        raise ArtefactError(f"the tokenizer in {folder} cannot be read: {error}") from error


def _encoder_of(network: nn.Module) -> Encoder:
    for module in network.modules():
        if isinstance(module, Encoder):
            return module
    raise ArtefactError("the network has no encoder to describe")


def base_file(base: str) -> Path:
    """The path of a base encoder's weights; it exists only if the encoder is a local folder.

    Raises:
        ArtefactError: If the default encoder is not installed, or its weights have another SHA-256.
    """
    return Path(resolve_encoder(base)) / "model.safetensors"


def base_weights(info: ArtefactInfo, network: nn.Module) -> dict[str, Tensor]:
    """The weights that the model started from, under their names in `network`.

    Empty for a model that is stored whole. For a model that uses its classifier's encoder, these are the
    encoder's current weights, which training does not change.

    Raises:
        ArtefactError: If the base encoder has no local weights, or other weights than the recorded ones.
    """
    if shares_encoder(info):
        within = {f"{name}." for name, module in network.named_modules() if isinstance(module, Encoder)}
        return {
            name: value.detach().cpu().float()
            for name, value in network.state_dict().items()
            if name.startswith(tuple(within))
        }
    if info.delta == "none":
        return {}
    path = base_file(info.base)
    if not path.exists():
        raise ArtefactError(
            f"the base encoder {info.base} has no local model.safetensors ({path}): "
            "set artefact.delta=none, or use a folder as backbone"
        )
    if info.base_sha256 is not None and file_sha256(path) != info.base_sha256:
        raise ArtefactError(
            f"{info.identity} was trained from {info.base} with SHA-256 {info.base_sha256[:12]}..., "
            f"but {path} has {file_sha256(path)[:12]}...: use the base encoder it was trained from"
        )
    base = load_file(path)
    names: dict[str, Tensor] = {}
    for module_name, module in network.named_modules():
        if isinstance(module, Encoder):
            prefix = f"{module_name}.backbone." if module_name else "backbone."
            own = {name for name, _ in module.backbone.named_parameters()}
            for name, value in base.items():
                bare = name.removeprefix("bert.").removeprefix("roberta.").removeprefix("model.")
                if bare in own:
                    names[prefix + bare] = value.float()
    return names
