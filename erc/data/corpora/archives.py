"""Unpacks a corpus archive safely.

Member names must stay within the folder, links and devices are refused, and sizes are counted while the data
is written, because the sizes in an archive's headers can be wrong.
"""

from __future__ import annotations

import lzma
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import IO

from erc.errors import InputError

_BLOCK = 1 << 16
# zipfile raises RuntimeError for an encrypted member. The last two are raised if a member's folder is also a
# file.
_DAMAGE = (
    zipfile.BadZipFile,
    tarfile.TarError,
    zlib.error,
    lzma.LZMAError,
    EOFError,
    NotImplementedError,
    RuntimeError,
    FileExistsError,
    NotADirectoryError,
)
_SUFFIXES = frozenset({".json", ".csv", ".tsv", ".txt", ".parquet", ".zip"})


@dataclass(frozen=True, slots=True)
class ArchiveLimits:
    """Limits of an archive.

    Attributes:
        total_bytes: Unpacked bytes.
        members: Number of members.
        ratio: Unpacked bytes per packed byte, beyond `free_bytes`.
        free_bytes: Unpacked bytes that are always allowed.
    """

    total_bytes: int = 1 << 30
    members: int = 10_000
    ratio: int = 100
    free_bytes: int = 1 << 20


@dataclass(frozen=True, slots=True)
class _Member:
    name: str
    is_folder: bool
    is_plain_file: bool
    open: Callable[[], IO[bytes] | None]


def is_archive(path: Path) -> bool:
    """Whether `path` is a zip or a tar file (compressed or not)."""
    return path.is_file() and (zipfile.is_zipfile(path) or tarfile.is_tarfile(path))


def unpack(archive: Path, into: Path, limits: ArchiveLimits = ArchiveLimits()) -> None:
    """Write the data files of `archive` (JSON, CSV, TSV, TXT, Parquet, inner zips) below `into`; skip others.

    Raises:
        InputError: for a member name outside the folder, a link, a device, a repeated member, an exceeded
        limit, or
            a damaged archive.
    """
    packed = archive.stat().st_size
    allowed = min(limits.total_bytes, limits.free_bytes + limits.ratio * packed)
    written = 0
    try:
        for count, member in enumerate(_members(archive), start=1):
            if count > limits.members:
                raise InputError(f"more than {limits.members} members: not a corpus archive", path=archive)
            target = into / _safe_name(member.name, archive)
            if member.is_folder:
                continue
            if not member.is_plain_file:
                raise InputError(
                    f"member {member.name!r} is a link or a device: unpack it yourself and import the folder",
                    path=archive,
                )
            if target.suffix.casefold() in _SUFFIXES:
                written += _write(member, target, allowed - written, archive)
    except _DAMAGE as error:
        raise InputError(
            f"the archive is damaged, encrypted or of an unknown kind: {error}", path=archive
        ) from None


def _write(member: _Member, target: Path, allowed: int, archive: Path) -> int:
    if target.exists():
        raise InputError(f"member {member.name!r} is repeated", path=archive)
    target.parent.mkdir(parents=True, exist_ok=True)
    written = 0
    stream = member.open()
    if stream is None:
        raise InputError(f"member {member.name!r} has no readable content", path=archive)
    with stream as source, target.open("xb") as sink:
        while block := source.read(_BLOCK):
            written += len(block)
            if written > allowed:
                raise InputError(
                    f"unpacks to far more than its size (stopped at {member.name!r}): not a corpus archive",
                    path=archive,
                )
            sink.write(block)
    return written


def _members(archive: Path) -> Iterator[_Member]:
    if zipfile.is_zipfile(archive):
        with zipfile.ZipFile(archive) as zipped:
            for entry in zipped.infolist():
                kind = stat.S_IFMT(entry.external_attr >> 16)
                yield _Member(
                    entry.filename, entry.is_dir(), kind in (0, stat.S_IFREG), partial(zipped.open, entry)
                )
    elif tarfile.is_tarfile(archive):
        with tarfile.open(archive) as tar:
            for info in tar:
                yield _Member(info.name, info.isdir(), info.isreg(), partial(tar.extractfile, info))
    else:
        raise InputError("neither a zip nor a tar file", path=archive)


def _safe_name(name: str, archive: Path) -> PurePosixPath:
    path = PurePosixPath(name)
    if (
        not path.parts
        or path.is_absolute()
        or ".." in path.parts
        or "\\" in name
        or "\0" in name
        or PureWindowsPath(name).drive
    ):
        raise InputError(f"member {name!r} points outside the archive: the archive is unsafe", path=archive)
    return path
