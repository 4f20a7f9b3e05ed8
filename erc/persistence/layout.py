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
class Layout:
    """Names of the files an artefact folder has."""

    info: str = "artefact.json"
    weights: str = "weights.safetensors"
    calibrator: str = "calibrator.json"
    thresholds: str = "thresholds.json"
    policy: str = "policy.json"
    metrics: str = "metrics.json"
    card: str = "README.md"
    manifest: str = "MANIFEST.json"
    encoder_config: str = "encoder"


LAYOUT = Layout()


def write_json(path: Path, value: Any) -> None:
    """Writes strict JSON (no NaN), readable by people."""
    path.write_text(json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n", encoding="utf-8")


def read_json(path: Path) -> Any:
    """Reads JSON; a missing or broken file is an ArtefactError that names it."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise ArtefactError(f"{path} is missing: the model folder is incomplete, install or train the model again") from error
    except (ValueError, RecursionError) as error:
        raise ArtefactError(f"{path} is not valid JSON ({error}): install or train the model again") from error


def _files(folder: Path) -> list[Path]:
    return sorted(p for p in folder.rglob("*") if p.is_file() and p.name != LAYOUT.manifest)


def write_manifest(folder: Path) -> None:
    """Writes size and SHA-256 of every file of the folder."""
    entries = {}
    for path in _files(folder):
        content = path.read_bytes()
        entries[path.relative_to(folder).as_posix()] = {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
    write_json(folder / LAYOUT.manifest, {"files": entries})


def check_manifest(folder: Path) -> str:
    """Compares every file with the manifest before anything is parsed; returns the hash of the manifest itself.

    Raises ArtefactError for a file that is missing, altered or not listed.
    """
    if not folder.is_dir():
        raise ArtefactError(f"{folder} is not a model folder")
    manifest = folder / LAYOUT.manifest
    entries = read_json(manifest).get("files", {})
    present = {path.relative_to(folder).as_posix() for path in _files(folder)}
    for name, entry in entries.items():
        if name not in present:
            raise ArtefactError(f"{folder / name} is missing though the manifest lists it: install or train the model again")
        content = (folder / name).read_bytes()
        found = hashlib.sha256(content).hexdigest()
        if found != entry["sha256"]:
            raise ArtefactError(
                f"{folder / name} has SHA-256 {found} ({len(content)} bytes), the manifest says {entry['sha256']} ({entry['bytes']} bytes): "
                "the file was altered or cut off; install or train the model again"
            )
    strangers = sorted(present - set(entries))
    if strangers:
        raise ArtefactError(f"{folder / strangers[0]} is not in the manifest: remove it, or install the model again")
    return hashlib.sha256(manifest.read_bytes()).hexdigest()


def replace_folder(temporary: Path, target: Path) -> None:
    """Puts a finished folder in the place of `target`; a crash in between leaves the old one beside it as `.old`."""
    old = target.with_name(target.name + ".old")
    if target.exists():
        os.replace(target, old)
    os.replace(temporary, target)
    if old.exists():
        shutil.rmtree(old)
