"""The files of an artefact folder, and the manifest of their hashes."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from erc.errors import ArtefactError


@dataclass(frozen=True, slots=True)
class ArtefactLayout:
    """Names of the files in an artefact folder.

    Attributes:
        info: The description of the model.
        weights: The weights.
        calibrator: The calibrator.
        thresholds: The decision thresholds per label.
        policy: The decision policies.
        metrics: Figures of the training run.
        card: The model card.
        manifest: Sizes and hashes of all other files.
        encoder_config: Folder of the encoder's configuration, for a model that is stored whole.
    """

    info: str = "artefact.json"
    weights: str = "weights.safetensors"
    calibrator: str = "calibrator.json"
    thresholds: str = "thresholds.json"
    policy: str = "policy.json"
    metrics: str = "metrics.json"
    card: str = "README.md"
    manifest: str = "MANIFEST.json"
    encoder_config: str = "encoder"

    def is_artefact(self, folder: Path) -> bool:
        """Whether `folder` is a model folder, complete or not; only such a folder may be replaced."""
        return (folder / self.info).is_file() or (folder / self.manifest).is_file()


LAYOUT = ArtefactLayout()


def write_json(path: Path, value: Any) -> None:
    """Writes strict, indented JSON.

    Raises:
        ValueError: For NaN or infinity.
    """
    path.write_text(json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n", encoding="utf-8")


def read_json(path: Path) -> Any:
    """Reads JSON.

    Raises:
        ArtefactError: If the file is missing or is not valid JSON; the message names it.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise ArtefactError(
            f"{path} is missing: the model folder is incomplete, install or train the model again"
        ) from error
    except (ValueError, RecursionError) as error:
        raise ArtefactError(
            f"{path} is not valid JSON ({error}): install or train the model again"
        ) from error


def _files(folder: Path) -> list[Path]:
    return sorted(p for p in folder.rglob("*") if p.is_file() and p != folder / LAYOUT.manifest)


def write_manifest(folder: Path) -> None:
    """Writes size and SHA-256 of every file of the folder."""
    entries = {}
    for path in _files(folder):
        content = path.read_bytes()
        entries[path.relative_to(folder).as_posix()] = {
            "bytes": len(content),
            "sha256": hashlib.sha256(content).hexdigest(),
        }
    write_json(folder / LAYOUT.manifest, {"files": entries})


def check_manifest(folder: Path) -> str:
    """Compares every file with the manifest before anything is parsed.

    Returns one SHA-256 over weights, calibrator and tokenizer.

    Raises:
        ArtefactError: If a file is missing, altered or not listed.
    """
    if not folder.is_dir():
        raise ArtefactError(f"{folder} is not a model folder")
    manifest = folder / LAYOUT.manifest
    entries = _entries(manifest)
    present = {path.relative_to(folder).as_posix() for path in _files(folder)}
    for name, entry in entries.items():
        if name not in present:
            raise ArtefactError(
                f"{folder / name} is missing, but the manifest lists it: install or train the model again"
            )
        content = (folder / name).read_bytes()
        found = hashlib.sha256(content).hexdigest()
        if found != entry.get("sha256"):
            raise ArtefactError(
                f"{folder / name} has SHA-256 {found} ({len(content)} bytes), the manifest says "
                f"{entry.get('sha256')} ({entry.get('bytes')} bytes): "
                "the file was altered or truncated; install or train the model again"
            )
    strangers = sorted(present - set(entries))
    if strangers:
        raise ArtefactError(
            f"{folder / strangers[0]} is not in the manifest: remove it, or install the model again"
        )
    belief = (LAYOUT.weights, LAYOUT.calibrator, "tokenizer.json")
    return hashlib.sha256(
        "".join(entries.get(name, {}).get("sha256", "") for name in belief).encode()
    ).hexdigest()


def _entries(manifest: Path) -> dict[str, dict[str, Any]]:
    """The entry of each file in a manifest."""
    content = read_json(manifest)
    entries = content.get("files") if isinstance(content, dict) else None
    if not isinstance(entries, dict) or not all(isinstance(entry, dict) for entry in entries.values()):
        raise ArtefactError(f"{manifest} is not a model's manifest: install or train the model again")
    return entries


def replace_folder(temporary: Path, target: Path) -> None:
    """Replaces the folder `target` with a finished one; on an error the old folder stays.

    If the process is killed between the two renames, the old folder is left beside `target` under the hidden
    name `.NAME.old`.

    Raises:
        ArtefactError: If `target` is neither empty nor a model folder.
        OSError: If a folder cannot be moved.
    """
    old = target.with_name(f".{target.name}.old")
    if target.exists():
        if not LAYOUT.is_artefact(target) and (not target.is_dir() or any(target.iterdir())):
            raise ArtefactError(f"{target} is not a model folder and is not empty: save the model elsewhere")
        if old.exists():  # left by a save that was killed at its end
            shutil.rmtree(old)
        os.replace(target, old)
    try:
        os.replace(temporary, target)
    except BaseException:
        if old.exists():
            os.replace(old, target)
        raise
    if old.exists():
        shutil.rmtree(old)
