"""The format of one line of an export."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import numpy as np

from speakers.errors import InvalidRecordError

VERSION = 1
"""The version of the format, given in the header line."""


def packed(vector: np.ndarray | None) -> dict[str, str] | None:
    """A vector as its dtype and base64 of its little-endian bytes."""
    if vector is None:
        return None
    little = np.asarray(vector, "<f2" if vector.dtype == np.float16 else "<f4")
    return {"dtype": little.dtype.name, "base64": base64.b64encode(little.tobytes()).decode("ascii")}


def unpacked(packed: Mapping[str, str] | None) -> np.ndarray | None:
    """The vector of `packed`, shape (width,).

    Raises:
        KeyError: the dtype is missing or unknown.
        ValueError: the bytes are not base64 or not whole numbers of that dtype.
    """
    if packed is None:
        return None
    dtype = {"float16": "<f2", "float32": "<f4"}[packed["dtype"]]
    return np.frombuffer(base64.b64decode(packed["base64"], validate=True), dtype)


def parse(lines: Iterable[str | bytes], *, source: str = "import") -> Iterator[tuple[str, dict[str, Any]]]:
    """The place (`source:number`) and content of each line. Bytes are UTF-8, with or without a BOM.

    Raises:
        InvalidRecordError: a line is not UTF-8, not a JSON object with a `kind`, or of another version.
    """
    for number, line in enumerate(lines, start=1):
        place = f"{source}:{number}"
        try:
            text = line if isinstance(line, str) else line.decode("utf-8")
        except UnicodeDecodeError as error:
            raise InvalidRecordError(
                f"{place}: not UTF-8 (byte {error.start + 1} of the line); save the export as UTF-8 text"
            ) from None
        text = text.removeprefix("\ufeff") if number == 1 else text
        if not text.strip():
            continue
        try:
            data = json.loads(text)
        except (json.JSONDecodeError, RecursionError) as error:
            raise InvalidRecordError(f"{place}: not a JSON object ({error})") from None
        if not isinstance(data, dict) or "kind" not in data:
            raise InvalidRecordError(f"{place}: a line of an export is an object with a 'kind'")
        if data["kind"] == "memory" and data.get("version") != VERSION:
            raise InvalidRecordError(
                f"{place}: export version {data.get('version')}, this package reads {VERSION}: "
                "pip install --upgrade convemo"
            )
        yield place, data
