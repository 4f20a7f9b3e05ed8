"""Files that are written whole or not at all, and what a process that was killed over one left behind.

A file is written beside its place as `NAME.PID.part` (a database with `-wal` and the like behind that) and
then takes its place.
"""

from __future__ import annotations

import os
import re
import time
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from erc.errors import ArtefactError

STALE = 3600.0
"""Seconds without a change after which a dead process's file is taken away: its number may be that of one alive on another machine."""
_PART = re.compile(r"(?P<part>.+\.(?P<process>\d+)\.part)(?:-wal|-shm|-journal)?")


def part_of(path: Path) -> Path:
    """Where this process writes what is to become `path`."""
    return path.with_name(f"{path.name}.{os.getpid()}.part")


def private_folder(folder: Path) -> Path:
    """The folder, made for its owner alone (0700) where it is missing; one that is there stays as it is.

    Raises ArtefactError where it cannot be made or written to.
    """
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise ArtefactError(
            f"{folder}: cannot be made as a folder ({error}): name one that can be written to"
        ) from None
    if not os.access(folder, os.W_OK | os.X_OK):
        raise ArtefactError(
            f"{folder}: this folder cannot be written to: name another, or have it opened to you"
        )
    return folder


def private_file(path: Path) -> Path:
    """The file, made empty where it is missing with what is missing of its folder, readable by nobody else (0600): for what people said.

    What SQLite lays beside a file takes over its permissions.
    """
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    path.touch(mode=0o600, exist_ok=True)
    path.chmod(0o600)
    return path


def keep_first(part: Path, path: Path) -> None:
    """Gives the finished `part` its place, unless another process has put a file there meanwhile: that one may be open, and stays."""
    try:
        os.link(part, path)
    except FileExistsError:
        pass
    except OSError:  # a file system without hard links
        if not path.exists():
            os.replace(part, path)
    part.unlink(missing_ok=True)


def save_arrays(arrays: Mapping[str, np.ndarray], path: Path) -> None:
    """Writes a safetensors file whole or not at all."""
    from safetensors.numpy import save_file

    path.parent.mkdir(parents=True, exist_ok=True)
    part = part_of(path)
    try:
        save_file(dict(arrays), part)
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)


def read_arrays(path: Path) -> dict[str, np.ndarray]:
    """What a safetensors file holds; nothing where there is none or it is broken."""
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    try:
        return load_file(path)
    except (OSError, ValueError, SafetensorError):
        return {}


def sweep(folder: Path) -> list[Path]:
    """Takes away the unfinished files in `folder` whose process is gone and that nothing has changed for an hour; returns them.

    What cannot be looked at or taken away stays. Another process may sweep, or finish a file, at the same
    time.
    """
    families: dict[tuple[str, int], list[Path]] = defaultdict(list)
    try:
        for path in folder.iterdir():
            if found := _PART.fullmatch(path.name):
                families[found["part"], int(found["process"])].append(path)
    except OSError:
        return []
    taken = []
    for (_, process), paths in families.items():
        if not _alive(process) and _untouched(paths):
            for path in paths:
                try:
                    path.unlink()
                except OSError:
                    continue
                taken.append(path)
    return taken


def _alive(process: int) -> bool:
    """Whether a process of this number runs here; in doubt it does."""
    if os.name != "posix":  # elsewhere the question itself would interrupt the process
        return True
    try:
        os.kill(process, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except OSError:
        return True
    return True


def _untouched(paths: list[Path]) -> bool:
    try:
        return time.time() - max(path.stat().st_mtime for path in paths) > STALE
    except OSError:  # one of them was just finished
        return False
