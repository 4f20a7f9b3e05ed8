"""Writes and reads the JSON records of calibrators, thresholds and policies.

A record is `{"kind": ..., "version": ..., fields...}`. Unknown kinds, versions and keys are refused, because
ignoring a key could change decisions silently.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from erc.errors import ArtefactError

JsonDict = dict[str, Any]


def write_record(kind: str, version: int, fields: Mapping[str, Any]) -> JsonDict:
    """The record of `fields`.

    Raises:
        ValueError: If a value is NaN or infinite.
    """
    record = {"kind": kind, "version": version, **fields}
    json.dumps(record, allow_nan=False)
    return record


def read_record(record: Mapping[str, Any], *, kind: str, version: int, fields: tuple[str, ...]) -> JsonDict:
    """The fields of a record of exactly this kind, version and set of keys.

    Raises:
        ArtefactError: If the kind, the version or the keys differ.
    """
    if record.get("kind") != kind:
        raise ArtefactError(f"kind={record.get('kind')!r} where {kind!r} is expected")
    if record.get("version") != version:
        found = record.get("version")
        raise ArtefactError(
            f"{kind}: version {found!r} cannot be read, this release reads version {version}: fit it again "
            "or update convemo"
        )
    given = set(record) - {"kind", "version"}
    if given != set(fields):
        missing, unknown = sorted(set(fields) - given), sorted(given - set(fields))
        raise ArtefactError(f"{kind}: missing keys {missing}, unknown keys {unknown}")
    return {name: record[name] for name in fields}
