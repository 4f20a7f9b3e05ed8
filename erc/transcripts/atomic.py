"""A file that is either the old one or the whole new one, never half of it."""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
import stat
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from erc.errors import InputError

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
