"""The cache file of an index: raw arrays with a keyed checksum that is verified before they are parsed."""

from __future__ import annotations

import contextlib
import hashlib
import hmac
import os
import re
import struct
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from speakers.vectors.index import VectorIndex

_MAGIC = b"SPKINDX1"
_HEADER = struct.Struct("<8s32s4q")  # magic, HMAC of the rest; width, count, generation, epoch
_BLOCK = 2**24
_STALE_SECONDS = 3_600.0


def path_of(database: Path, tenant: int) -> Path:
    """The cache file of a tenant's index, next to the database."""
    return database.with_name(f"{database.name}-index-{tenant}")


def write_draft(path: Path, index: VectorIndex, secret: bytes, *, permissions: int = 0o600) -> Path:
    """Write the index to a temporary file next to `path` and flush it to disk. The caller renames it."""
    draft = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    numbers = _HEADER.pack(_MAGIC, bytes(32), index.width, len(index), index.generation, index.epoch)[40:]
    code = hmac.new(secret, numbers, hashlib.sha256)
    with open(draft, "wb", opener=lambda name, flags: os.open(name, flags, permissions)) as file:
        file.write(bytes(40) + numbers)
        for array in (index.ids, index.times, index.sequences, index.positions, index.vectors()):
            for block in _blocks(array):
                code.update(block)
                file.write(block)
        file.seek(0)
        file.write(_MAGIC + code.digest())
        file.flush()
        os.fsync(file.fileno())
    return draft


def _blocks(array: np.ndarray) -> Iterator[memoryview]:
    little = np.ascontiguousarray(array).astype(array.dtype.newbyteorder("<"), copy=False)
    raw = memoryview(little.reshape(-1).view(np.uint8).data)
    return (raw[start : start + _BLOCK] for start in range(0, len(raw), _BLOCK))


def read(path: Path, secret: bytes, *, width: int) -> VectorIndex | None:
    """The cached index; None if it is missing, truncated, altered, of another width or of another store."""
    try:
        raw = path.read_bytes()
    except OSError:
        return None
    if len(raw) < _HEADER.size:
        return None
    magic, code, stored_width, count, generation, epoch = _HEADER.unpack_from(raw)
    if (
        magic != _MAGIC
        or stored_width != width
        or count < 0
        or len(raw) != _HEADER.size + count * (32 + 4 * width)
    ):
        return None
    if not hmac.compare_digest(code, hmac.new(secret, memoryview(raw)[40:], hashlib.sha256).digest()):
        return None
    offset, columns = _HEADER.size, []
    for dtype in ("<i8", "<f8", "<i8", "<i8"):
        columns.append(np.frombuffer(raw, dtype, count, offset))
        offset += 8 * count
    vectors = np.frombuffer(raw, "<f4", count * width, offset).reshape(count, width)
    index = VectorIndex(width, generation, epoch)
    index.add(ids=columns[0], times=columns[1], sequences=columns[2], positions=columns[3], vectors=vectors)
    return index


def remove(database: Path, tenant: int) -> None:
    """Delete the tenant's cache file and its drafts."""
    path = path_of(database, tenant)
    path.unlink(missing_ok=True)
    for draft in _drafts(path, re.escape(path.name)):
        draft.unlink(missing_ok=True)


def sweep(database: Path) -> None:
    """Delete old drafts that a killed process left behind."""
    for draft in _drafts(database, rf"{re.escape(database.name)}-index-\d+"):
        with contextlib.suppress(OSError):
            if time.time() - draft.stat().st_mtime > _STALE_SECONDS:
                draft.unlink()


def _drafts(beside: Path, stem: str) -> list[Path]:
    """The drafts of files whose names match the regular expression `stem`.

    It is not a glob pattern, because the name of a database may contain `*`, `?` or `[`.
    """
    return [path for path in beside.parent.iterdir() if re.fullmatch(rf"{stem}\.\d+\.tmp", path.name)]
