"""Parses times, moments and labels."""

from __future__ import annotations

import math
import re
from datetime import UTC, datetime

_CLOCK = re.compile(
    r"(?:(?P<hours>\d{1,6}):)?(?P<minutes>\d{1,2}):(?P<seconds>\d{1,2})(?:[.,](?P<fraction>\d{1,9}))?",
    re.ASCII,
)
_SECONDS = re.compile(r"\d{1,12}(?:\.\d{1,12})?", re.ASCII)
_NUMBER = re.compile(r"\d{1,20}(?:\.\d{1,12})?", re.ASCII)
# Python's parser accepts any character between date and time. It would read `1712121200000` as a day in 1712.
_ISO_DATE = re.compile(r"\d{4}-|\d{8}T", re.ASCII)


def clock_seconds(text: str) -> float | None:
    """Seconds of `[hh:]mm:ss[.fff]`; None for other text."""
    match = _CLOCK.fullmatch(text.strip())
    if match is None:
        return None
    whole = int(match["hours"] or 0) * 3600 + int(match["minutes"]) * 60 + int(match["seconds"])
    return float(f"{whole}.{match['fraction'] or 0}")


def seconds(value: object) -> float | None:
    """Seconds of a number that is not negative, of `12.5` or of `00:00:12.500`; None for other values."""
    if isinstance(value, str):
        text = value.strip()
        return float(text) if _SECONDS.fullmatch(text) else clock_seconds(text)
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        number = float(value)
    except OverflowError:
        return None
    return number if math.isfinite(number) and number >= 0 else None


def moment(value: object) -> str | None:
    """An ISO 8601 moment from ISO text or from seconds or milliseconds since 1970; None for other values.

    Text keeps its offset if it has one. Numbers, also as text (`1712121200000`, `1712121200.5`), are UTC.
    Numbers below 100,000,000 (March 1973) are refused, because `20240501` may be a date. A date needs dashes,
    or a `T` and a time.
    """
    if isinstance(value, str):
        text = value.strip()
        if not _NUMBER.fullmatch(text):
            return _iso(text)
        value = float(text)
    if isinstance(value, bool) or not isinstance(value, int | float) or not 1e8 <= value < 1e14:
        return None
    try:
        return datetime.fromtimestamp(value / 1000 if value >= 1e11 else value, tz=UTC).isoformat()
    except (ValueError, OverflowError, OSError):
        return None


def _iso(text: str) -> str | None:
    if not _ISO_DATE.match(text):
        return None
    try:
        return datetime.fromisoformat(text).isoformat()
    except (ValueError, OverflowError):
        return None


def labels(value: object) -> tuple[str, ...]:
    """Labels from a list of strings, or from one string separated by `|`, `;` or `,`."""
    parts = re.split(r"[|;,]", value) if isinstance(value, str) else value if isinstance(value, list) else []
    return tuple(dict.fromkeys(part.strip() for part in parts if isinstance(part, str) and part.strip()))
