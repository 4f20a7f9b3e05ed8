"""Plain text: `NAME: text`, `NAME (aside): text`, `[SPEAKER_00]: text`, with continuation lines, and what chat programs export."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from erc.transcripts.names import Named, Speakers, split_name
from erc.transcripts.nouns import Draft, Line, Log
from erc.transcripts.stamps import Dates, Stamp, take_stamp
from erc.transcripts.values import clock_seconds

_CLOCK = re.compile(r"\s{0,8}[(\[](?P<clock>\d{1,3}:\d{2}(?::\d{2}(?:[.,]\d{1,3})?)?)[)\]]\s{0,8}")


@dataclass(frozen=True, slots=True)
class _Row:
    """A line: what stood in front of its `text`, and who says it; `undated` is a name that does not count, for a date is missing before it."""

    number: int
    text: str
    stamp: Stamp | None = None
    clock: str | None = None
    named: Named | None = None
    undated: str | None = None
    doubtful: str | None = None


def read_text(lines: Iterable[Line], *, mapping: Mapping[str, str], log: Log) -> Iterator[Draft]:
    """One turn per speaker line; a line that opens with no speaker continues the turn above it, joined by a space.

    Every line of a date, a time and a name begins a turn, and the moment becomes its timestamp (see `erc.transcripts.stamps`). Among such lines,
    one with a date and no name is a message of the chat program and is passed over; where they are the most, a line without a date continues
    the message above whatever it begins with. `[hh:mm:ss]` before the name becomes the turn's start; `[12:30]`, which may be a time of day or
    an offset, is kept as `meta["clock"]`. What stood in brackets after the name is kept as `meta["aside"]`.
    """
    del mapping
    rows = _rows(lines)
    dates = Dates(row.stamp for row in rows if row.stamp is not None)
    draft: Draft | None = None
    parts: list[str] = []
    passing = False  # over a message of the chat program
    for row in rows:
        if row.named is not None:
            if draft is not None:
                yield _with_text(draft, parts)
            draft, parts, passing = _begun(row, row.named, dates), [row.named.text], False
        elif row.stamp is not None:
            passing = True
        elif not row.text.strip() or passing:
            continue
        elif draft is not None:
            parts.append(f"[{row.clock}] {row.text.strip()}" if row.clock else row.text.strip())
        else:
            log.problem(row.number, "stands before the first speaker (a turn begins with 'NAME: text'): skipped")
    if draft is not None:
        yield _with_text(draft, parts)
    _tell(rows, dates, log)


def _rows(lines: Iterable[Line]) -> list[_Row]:
    given = list(lines)
    rows = [_dated(line) or _plain(line) for line in given]
    first = next((place for place, row in enumerate(rows) if row.stamp is not None and row.named is not None), None)
    if first is None:  # dates alone make no turns: they are words
        rows = [_plain(line) for line in given]
    speakers = Speakers(row.text for row in rows)
    rows = [row if row.stamp is not None else replace(row, named=speakers.match(row.text)) for row in rows]
    undated = sum(row.stamp is None and row.named is not None for row in rows[first:]) if first is not None else 0
    if first is not None and undated < sum(row.stamp is not None and row.named is not None for row in rows):
        # An export dates each message, so here `PS: bring wine` is one more line of a message.
        rows[first:] = [row if row.stamp or not row.named else replace(row, named=None, undated=row.named.name) for row in rows[first:]]
        return rows
    begun = next((place for place, row in enumerate(rows) if row.named is not None), len(rows))
    return [replace(row, doubtful=speakers.doubtful(row.text)) if row.stamp is None and place > begun else row for place, row in enumerate(rows)]


def _dated(line: Line) -> _Row | None:
    found = take_stamp(line.text)
    return None if found is None else _Row(line.number, found[1], stamp=found[0], named=split_name(found[1].lstrip("~ \u202f"), phones=True))


def _plain(line: Line) -> _Row:
    match = _CLOCK.match(line.text)
    return _Row(line.number, line.text) if match is None else _Row(line.number, line.text[match.end() :], clock=match["clock"])


def _begun(row: _Row, named: Named, dates: Dates) -> Draft:
    draft = Draft(line=row.number, text="", speakers=(named.name,), timestamp=None if row.stamp is None else dates.moment(row.stamp))
    if named.aside:
        draft.meta["aside"] = named.aside
    if row.clock is not None and row.clock.count(":") == 2:
        draft.start = clock_seconds(row.clock)
    elif row.clock is not None:
        draft.meta["clock"] = row.clock
    return draft


def _tell(rows: Sequence[_Row], dates: Dates, log: Log) -> None:
    """Notes on what was read one way and might have been meant another."""
    if (stamp := dates.doubtful) is not None:
        log.note(
            f"dates are read {'day' if dates.day_first else 'month'} first, as nothing speaks against it: {stamp.written} is {dates.moment(stamp)}"
        )
    if messages := [row.number for row in rows if row.stamp is not None and row.named is None and row.text.strip()]:
        log.note(f"{len(messages)} dated line(s) name no sender and are passed over, the first is line {messages[0]}")
    if undated := [(row.number, row.undated) for row in rows if row.undated is not None]:
        log.note(
            f"{len(undated)} line(s) with a name and no date are read as more of the message above, the first is line {undated[0][0]} "
            f"({undated[0][1]!r})"
        )
    if doubtful := [(row.number, row.doubtful) for row in rows if row.doubtful is not None]:
        log.note(
            f"{len(doubtful)} line(s) that begin with a word and a colon are read as more of the turn above, the first is line {doubtful[0][0]} "
            f"({doubtful[0][1]!r}): if that is a speaker, write the name with a capital letter or in square brackets"
        )


def _with_text(draft: Draft, parts: list[str]) -> Draft:
    draft.text = " ".join(part for part in parts if part)
    return draft
