"""Files that are written whole or not at all, and what a process that was killed over one left behind.

A file is written beside its place as `NAME.PID.part` (a database with `-wal` and the like behind that) and
then takes its place.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import re
import secrets
import stat
import sys
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from erc.errors import ArtefactError, InputError

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


_DISK = frozenset((errno.ENOSPC, errno.EFBIG, errno.EIO, errno.EROFS, getattr(errno, "EDQUOT", errno.ENOSPC)))


@contextmanager
def opened_for_writing(target: Path | str | BinaryIO) -> Iterator[BinaryIO]:
    """A binary stream into `target`: `-` is standard output, a stream is written through and stays open.

    A path is written as a temporary file in the same folder, flushed to the disk and renamed over the old
    file when the block ends well. On any exception, Ctrl-C included, the old file stands and the temporary
    file goes. Devices and pipes are written directly. Raises InputError where the disk is full or the place
    cannot be written; a closed pipe stays a BrokenPipeError.
    """
    if not isinstance(target, Path | str):
        yield target
        target.flush()
        return
    if str(target) == "-":
        yield sys.stdout.buffer
        sys.stdout.buffer.flush()
        return
    path = Path(target)
    if path.is_dir():
        raise InputError("this is a folder: name a file in it", path=path)
    if path.exists() and not path.is_file():
        with _told(path), path.open("wb") as stream:
            yield stream
        return
    # A link keeps pointing where it did: the file behind it is replaced, not the link.
    with _replacing(path.resolve()) as stream:
        yield stream


@contextmanager
def _replacing(path: Path) -> Iterator[BinaryIO]:
    temporary = path.with_name(f".{path.name[:80]}.{secrets.token_hex(6)}.tmp")
    with _told(path):
        # Opened as any new file is, so that the user's umask holds; an existing file's permissions are taken
        # over below.
        handle = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0), 0o666)
    try:
        with _told(path, only=_DISK), os.fdopen(handle, "wb") as stream:
            yield stream
            with _told(path):
                stream.flush()
                os.fsync(stream.fileno())
        with _told(path):
            with contextlib.suppress(FileNotFoundError):
                os.chmod(temporary, stat.S_IMODE(path.stat().st_mode))
            os.replace(temporary, path)
    except BaseException:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(temporary)
        raise
    _sync_folder(path.parent)


@contextmanager
def _told(path: Path, *, only: frozenset[int] | None = None) -> Iterator[None]:
    """Turns an OSError into an InputError; with `only`, those of the named numbers, as others may come from the caller's work."""
    try:
        yield
    except BrokenPipeError:
        raise
    except OSError as error:
        if only is not None and error.errno not in only:
            raise
        if not path.parent.is_dir():
            raise InputError(f"cannot be written: there is no folder {path.parent}", path=path) from error
        raise InputError(
            f"cannot be written: {error.strerror or error}; what stood there before is as it was", path=path
        ) from error


def _sync_folder(folder: Path) -> None:
    # The rename is in the folder; where folders cannot be synced (Windows) the file itself still was.
    with contextlib.suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def save_whole(tensors: Mapping[str, Tensor], path: Path) -> None:
    """Writes safetensors so that a kill leaves the old file or the new one, never half of one."""
    temporary = path.with_name(path.name + ".part")
    save_file(dict(tensors), temporary)
    os.replace(temporary, path)


def load_whole(path: Path) -> dict[str, Tensor]:
    """What `save_whole` wrote. Raises ArtefactError where the file is missing or was damaged."""
    try:
        return load_file(path)
    except (OSError, ValueError, SafetensorError) as error:
        raise ArtefactError(
            f"{path}: the run cannot be gone on from it ({error}): train again with --fresh"
        ) from None


def save_record(record: Mapping[str, Any], path: Path) -> None:
    """Writes JSON so that a kill leaves the old file or the new one, never half of one."""
    temporary = path.with_name(path.name + ".part")
    temporary.write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
    os.replace(temporary, path)


def load_record(path: Path) -> dict[str, Any]:
    """What `save_record` wrote. Raises ArtefactError where the file is missing or was damaged."""
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ArtefactError(
            f"{path}: the run cannot be gone on from it ({error}): train again with --fresh"
        ) from None
    if not isinstance(record, dict):
        raise ArtefactError(
            f"{path}: the run cannot be gone on from it (no record stands there): train again with --fresh"
        )
    return record
