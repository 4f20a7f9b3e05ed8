"""Dates at the start of lines, as in chat exports.

Examples are `[01/05/2024, 10:00:00] Ana: hi`, `5/1/24, 10:00 PM - Ana: hi` and ISO 8601.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, timezone

_INVISIBLE = "\u200e\u200f\u061c\u202a\u202b\u202c\u2066\u2067\u2068\u2069\ufeff"
# Every repetition is bounded, to limit backtracking. iOS writes direction marks before the bracket, and a
# narrow space before AM and PM.
_STAMP = re.compile(
    rf"[\s{_INVISIBLE}]{{0,8}}(?P<open>[\[(])?\s?"
    r"(?:(?P<year>\d{4})(?P<iso>[-/.])(?P<month>\d{1,2})(?P=iso)(?P<day>\d{1,2})"
    r"|(?P<one>\d{1,2})(?P<mark>[-/.])\s?(?P<two>\d{1,2})(?P=mark)\s?(?P<short>\d{4}|\d{2}))"
    rf"(?:T|,?[\s{_INVISIBLE}]{{1,3}})"
    r"(?P<hour>\d{1,2})[:.](?P<minute>\d{2})(?:[:.](?P<second>\d{2})(?:[.,](?P<fraction>\d{1,6})\d{0,3})?)?"
    rf"(?:[\s{_INVISIBLE}]{{0,3}}(?P<half>[ap])\.?\s?m\b\.?)?(?:\s?(?P<zone>Z|UTC|[+-]\d{{2}}:?\d{{2}})(?![\w:]))?"
    r"\s?(?(open)[\])]|(?=[\s|:,–—-]|$))\s{0,4}(?:[|:,–—-]\s{1,4})?",
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True)
class Stamp:
    """A date and time as written.

    Attributes:
        written: The text.
        year: With four digits.
        one: The first of day and month; the month if `iso`.
        two: The second of day and month; the day if `iso`.
        iso: Whether the year comes first.
        dotted: Whether dots separate the numbers.
        time: The time of day.
        zone: The time zone; None if not given.
    """

    written: str
    year: int
    one: int
    two: int
    iso: bool
    dotted: bool
    time: timedelta
    zone: timezone | None

    def moment(self, *, day_first: bool) -> datetime | None:
        """The moment, read day first or month first; None if there is no such day."""
        month, day = (self.two, self.one) if day_first and not self.iso else (self.one, self.two)
        try:
            return datetime(self.year, month, day, tzinfo=self.zone) + self.time
        except (ValueError, OverflowError):
            return None


def take_stamp(line: str) -> tuple[Stamp, str] | None:
    """The valid date and time at the start of a line, and the rest of the line; None if there is none."""
    match = _STAMP.match(line)
    stamp = None if match is None else _stamp(match)
    return None if match is None or stamp is None else (stamp, line[match.end() :])


def take_damaged(line: str) -> tuple[str, str] | None:
    """Text shaped like a date but invalid (`[32/13/2024, 09:16]`), and the rest of the line."""
    match = _STAMP.match(line)
    return None if match is None or _stamp(match) is not None else (_written(match), line[match.end() :])


def _written(match: re.Match[str]) -> str:
    return match[0].strip(f" -–—|:,[](){_INVISIBLE}")


def _stamp(match: re.Match[str]) -> Stamp | None:
    """The date of a match; None if there is no such day or hour."""
    hour, minute, second = (int(match[name] or 0) for name in ("hour", "minute", "second"))
    if hour > 23 or minute > 59 or second > 59 or (match["half"] and not 1 <= hour <= 12):
        return None
    if match["half"]:
        hour = hour % 12 + (12 if match["half"] in "pP" else 0)
    iso, micro = match["year"] is not None, int((match["fraction"] or "0").ljust(6, "0"))
    year = int(match["year"] or match["short"])
    year += 0 if iso or len(match["short"]) == 4 else 2000 if year < 70 else 1900
    one, two = (int(match[name]) for name in (("month", "day") if iso else ("one", "two")))
    time = timedelta(hours=hour, minutes=minute, seconds=second, microseconds=micro)
    stamp = Stamp(_written(match), year, one, two, iso, match["mark"] == ".", time, _zone(match["zone"]))
    if stamp.moment(day_first=True) is None and stamp.moment(day_first=False) is None:
        return None
    return stamp


class Dates:
    """The order of day and month in one file.

    `day_first` holds unless numbers above 12 or the order of the lines show that the month comes first. Dates
    with dots (`1.5.2024`) have the day first. `doubtful` is the first date that no number decides; None if
    there is none.
    """

    def __init__(self, stamps: Iterable[Stamp]) -> None:
        local = [stamp for stamp in stamps if not stamp.iso]
        days, months = (
            sum(stamp.one > 12 or stamp.dotted for stamp in local),
            sum(stamp.two > 12 for stamp in local),
        )
        settled = days != months
        self.day_first = days > months if settled else _steps_back(local, True) <= _steps_back(local, False)
        self.doubtful = None if settled else next((stamp for stamp in local if stamp.one != stamp.two), None)

    def moment(self, stamp: Stamp) -> str:
        """The moment in ISO 8601. A date that is invalid in the file's order is read in the other one."""
        found = stamp.moment(day_first=self.day_first) or stamp.moment(day_first=not self.day_first)
        assert found is not None  # `take_stamp` returns valid dates only
        return found.isoformat()


def _steps_back(stamps: Iterable[Stamp], day_first: bool) -> int:
    moments = [
        moment.replace(tzinfo=None)
        for stamp in stamps
        if (moment := stamp.moment(day_first=day_first)) is not None
    ]
    return sum(later < earlier for earlier, later in itertools.pairwise(moments))


def _zone(written: str | None) -> timezone | None:
    if written is None:
        return None
    if not written.startswith(("+", "-")):
        return UTC
    offset = timedelta(hours=int(written[1:3]), minutes=int(written[-2:]))
    return timezone(-offset if written[0] == "-" else offset) if offset < timedelta(hours=24) else None
