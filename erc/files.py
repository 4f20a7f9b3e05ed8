"""Atomic writes: a file has either its old or its complete new content.

Every write of the package uses `replacing`. It writes a temporary file `NAME.PID.part` in the same folder,
which replaces the file once it is complete and on disk. `sweep` removes temporary files that killed processes
left. Importing this module imports neither numpy nor torch.
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
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from erc.errors import ArtefactError, InputError

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor

STALE = 3600.0
"""Seconds without a change after which a dead process's file is removed.

The process number may belong to a live process on another machine that shares the folder.
"""
_PART = re.compile(
    r"(?P<part>.+\.(?P<process>\d+)(?:-[0-9a-f]+)?\.part)(?:-wal|-shm|-journal)?", flags=re.DOTALL
)
_DISK = frozenset((errno.ENOSPC, errno.EFBIG, errno.EIO, errno.EROFS, getattr(errno, "EDQUOT", errno.ENOSPC)))


# --- the primitive


def part_of(path: Path) -> Path:
    """The temporary file of this process for `path`; SQLite adds suffixes such as `-wal` to its name."""
    return path.with_name(f"{path.name}.{os.getpid()}.part")


@contextmanager
def replacing(path: Path, *, private: bool = False) -> Iterator[Path]:
    """Yields the path of an empty temporary file that replaces `path` if the block succeeds.

    If `path` is a symlink, its target is replaced. On any exception, Ctrl-C included, `path` is not changed
    and the temporary file is removed.

    Args:
        path: The file to write.
        private: Give the file mode 0600. Otherwise it keeps its mode, and a new one gets the user's default.

    Raises:
        OSError: If the folder is missing or cannot be written to, or the disk is full.
    """
    path = path.resolve()
    part = path.with_name(f"{path.name[:80]}.{os.getpid()}-{secrets.token_hex(4)}.part")
    os.close(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600 if private else 0o666))
    try:
        yield part
        _sync(part)
        if not private:
            with contextlib.suppress(FileNotFoundError):
                os.chmod(part, stat.S_IMODE(path.stat().st_mode))
        os.replace(part, path)
    except BaseException:
        part.unlink(missing_ok=True)
        raise
    with contextlib.suppress(OSError):  # some systems cannot sync a folder
        _sync(path.parent)


def keep_first(part: Path, path: Path) -> None:
    """Moves the finished `part` to `path`, unless another process has created `path` first.

    The existing file may be open, so it stays, and `part` is removed.
    """
    try:
        os.link(part, path)
    except FileExistsError:
        pass
    except OSError:  # a file system without hard links
        if not path.exists():
            os.replace(part, path)
    part.unlink(missing_ok=True)


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


# --- streams, for output that users ask for


@contextmanager
def opened_for_writing(target: Path | str | BinaryIO) -> Iterator[BinaryIO]:
    """Opens a binary stream into `target`.

    `-` is standard output. An open stream is written to and stays open. Devices and pipes are written
    directly. Any other path is replaced once the block succeeds.

    Raises:
        InputError: If the path is a folder or cannot be written, or the disk is full.
        BrokenPipeError: If the reader of a pipe has closed it.
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
        with _reported(path), path.open("wb") as stream:
            yield stream
        return
    replaced = replacing(path)
    with _reported(path):
        part = replaced.__enter__()
    try:
        with _reported(path, only=_DISK), part.open("wb") as stream:
            yield stream
    except BaseException as error:
        if not replaced.__exit__(type(error), error, error.__traceback__):
            raise
    else:
        with _reported(path):
            replaced.__exit__(None, None, None)


@contextmanager
def _reported(path: Path, *, only: frozenset[int] | None = None) -> Iterator[None]:
    """Turns an OSError into an InputError; `only` limits this to the given values of `errno`."""
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
            f"cannot be written: {error.strerror or error}; the file is unchanged", path=path
        ) from error


# --- JSON and tensors, for files of the package


def save_record(record: Mapping[str, Any], path: Path) -> None:
    """Writes a JSON object atomically."""
    with replacing(path) as part:
        part.write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")


def load_record(path: Path) -> dict[str, Any]:
    """Reads what `save_record` wrote in a run folder.

    Raises:
        ArtefactError: If the file is missing or damaged.
    """
    record = _loaded(path, lambda: json.loads(path.read_text(encoding="utf-8")))
    if not isinstance(record, dict):
        raise _not_resumable(path, "it holds no JSON object")
    return record


def save_whole(
    tensors: Mapping[str, Tensor],
    path: Path,
    *,
    metadata: dict[str, str] | None = None,
    private: bool = False,
) -> None:
    """Writes tensors atomically as safetensors."""
    from safetensors.torch import save_file

    with replacing(path, private=private) as part:
        save_file(dict(tensors), part, metadata=metadata)


def load_whole(path: Path) -> dict[str, Tensor]:
    """Reads what `save_whole` wrote in a run folder.

    Raises:
        ArtefactError: If the file is missing or damaged.
    """
    from safetensors.torch import load_file

    found: dict[str, Tensor] = _loaded(path, lambda: load_file(path))
    return found


def save_arrays(arrays: Mapping[str, np.ndarray], path: Path) -> None:
    """Writes arrays atomically as safetensors; creates a missing folder."""
    from safetensors.numpy import save_file

    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as part:
        save_file(dict(arrays), part)


def read_arrays(path: Path) -> dict[str, np.ndarray]:
    """Reads the arrays of a safetensors file; empty where it is missing or damaged."""
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    try:
        return load_file(path)
    except (OSError, ValueError, SafetensorError):
        return {}


def _loaded(path: Path, load: Callable[[], Any]) -> Any:
    from safetensors import SafetensorError

    try:
        return load()
    except (OSError, ValueError, SafetensorError) as error:
        raise _not_resumable(path, str(error)) from None


def _not_resumable(path: Path, why: str) -> ArtefactError:
    return ArtefactError(f"{path}: the run cannot be resumed from it ({why}): train again with --fresh")


# --- private files and leftovers


def private_folder(folder: Path) -> Path:
    """Creates the folder with mode 0700 if it is missing; an existing one keeps its mode.

    Raises:
        ArtefactError: If the folder cannot be created or written to.
    """
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise ArtefactError(
            f"{folder}: cannot be made ({error}): name a folder that can be written"
        ) from None
    if not os.access(folder, os.W_OK | os.X_OK):
        raise ArtefactError(f"{folder}: cannot be written to: name another folder, or change its permissions")
    return folder


def private_file(path: Path) -> Path:
    """Creates the file (0600) and its folder (0700) if they are missing; an existing file gets mode 0600.

    Files that SQLite adds beside it get the same mode.
    """
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    path.touch(mode=0o600, exist_ok=True)
    path.chmod(0o600)
    return path


def sweep(folder: Path) -> list[Path]:
    """Removes temporary files in `folder` whose process is gone and that are unchanged for `STALE` seconds.

    Returns the removed files. A file that cannot be examined or removed stays. This is safe while other
    processes sweep or write.
    """
    families: dict[tuple[str, int], list[Path]] = defaultdict(list)
    try:
        for path in folder.iterdir():
            if found := _PART.fullmatch(path.name):
                families[found["part"], int(found["process"])].append(path)
    except OSError:
        return []
    removed = []
    for (_, process), paths in families.items():
        if not _alive(process) and _unchanged(paths):
            for path in paths:
                try:
                    path.unlink()
                except OSError:
                    continue
                removed.append(path)
    return removed


def _alive(process: int) -> bool:
    """Whether a process with this number runs here; True if in doubt."""
    if os.name != "posix":  # elsewhere signal 0 would interrupt the process
        return True
    try:
        os.kill(process, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except OSError:
        return True
    return True


def _unchanged(paths: list[Path]) -> bool:
    try:
        return time.time() - max(path.stat().st_mtime for path in paths) > STALE
    except OSError:  # a process has just renamed or removed one
        return False
