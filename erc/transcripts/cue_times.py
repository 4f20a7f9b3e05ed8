"""Times of caption cues: `hh:mm:ss.mmm` in WebVTT and `hh:mm:ss,mmm` in SubRip."""

from __future__ import annotations

import math
import re
from decimal import ROUND_HALF_UP, Decimal

_SRT_TIME = re.compile(
    r"(?P<hours>\d{1,2}):(?P<minutes>\d{1,2}):(?P<seconds>\d{1,2})[.,](?P<fraction>\d{1,3})"
)
_VTT_TIME = re.compile(
    r"(?:(?P<hours>\d{1,10}):)?(?P<minutes>\d{1,2}):(?P<seconds>\d{1,2})\.(?P<fraction>\d{1,3})"
)
_LATEST = 10**10 * 3_600_000
"""Milliseconds. Hours have at most 10 digits, when a time is read and when it is written."""


def srt_times(line: str) -> list[float]:
    """All SubRip times in a line, in seconds."""
    return [_seconds(match) for match in _SRT_TIME.finditer(line)]


def vtt_seconds(text: str) -> float | None:
    """Seconds of a WebVTT time, also with shorter fields than the standard has; None for other text."""
    match = _VTT_TIME.fullmatch(text)
    if match is None or int(match["minutes"]) > 59 or int(match["seconds"]) > 59:
        return None
    return _seconds(match)


def vtt_time(seconds: float) -> str:
    """`seconds` as `hh:mm:ss.mmm`, rounded to the nearest millisecond (halves up).

    Raises:
        ValueError: for a time that is negative, not finite, or too long for ten digits of hours.
    """
    if not math.isfinite(seconds) or seconds < 0:
        raise ValueError(f"{seconds} is not a time in seconds")
    # Rounding the decimal text, not the binary float, gives 1.9995 -> 2.000.
    total = int((Decimal(str(seconds)) * 1000).to_integral_value(ROUND_HALF_UP))
    if total >= _LATEST:
        raise ValueError(f"{seconds} seconds are too long for WebVTT")
    minutes, milliseconds = divmod(total, 60_000)
    hours, minutes = divmod(minutes, 60)
    return f"{hours:02d}:{minutes:02d}:{milliseconds // 1000:02d}.{milliseconds % 1000:03d}"


def _seconds(match: re.Match[str]) -> float:
    whole = int(match["hours"] or 0) * 3600 + int(match["minutes"]) * 60 + int(match["seconds"])
    return (whole * 1000 + int(match["fraction"].ljust(3, "0"))) / 1000
