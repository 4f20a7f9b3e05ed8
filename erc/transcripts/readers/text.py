"""Plain text: `NAME: text`, `NAME (aside): text`, `[SPEAKER_00]: text`, `00:01:02 NAME: text`, with continuation lines, and chat exports."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from erc.transcripts.readers.hints import TABLE_SUFFIXES, chat_senders
from erc.transcripts.readers.speaker_names import CLOCK, Named, Speakers, split_name
from erc.transcripts.readers.timestamps import Dates, Stamp, take_damaged, take_stamp
from erc.transcripts.readers.values import clock_seconds
from erc.transcripts.types import Draft, Line, Log

_CLOCK = re.compile(
    rf"\s{{0,8}}(?:(?P<open>[(\[])(?P<within>{CLOCK})[)\]]\s{{0,8}}|(?P<bare>{CLOCK})\s{{1,8}}(?:[|–—-]\s{{1,4}})?)"
)
_TOLD = 20  # lines of one kind that are told one by one; the rest are counted


@dataclass(frozen=True, slots=True)
class _Row:
    """A line: what stood in front of its `text`, and who says it; `undated` is a name that does not count, for a date is missing before it.

    `damaged` is what has the form of a date and is none, `written` the text with the clock before it.
    """

    number: int
    text: str
    written: str
    stamp: Stamp | None = None
    damaged: str | None = None
    clock: str | None = None
    named: Named | None = None
    undated: str | None = None
    doubtful: str | None = None

    @property
    def dated(self) -> bool:
        """Whether a date stands in front, be it a damaged one."""
        return self.stamp is not None or self.damaged is not None


def sniff_text(lines: Sequence[str], suffix: str) -> tuple[float, str] | None:
    """Plain text if at least every fifth line opens with a date and a sender, or with a speaker."""
    if senders := chat_senders(lines, suffix):
        return 0.9, f"{senders} of the first {len(lines)} lines open with a date and a sender"
    speakers = Speakers(lines)
    share = sum(speakers.match(line) is not None for line in lines) / len(lines)
    if share < 0.2 or suffix in TABLE_SUFFIXES:
        return None
    return round(0.5 + share / 2, 2), f"{share:.0%} of the lines open with a speaker (NAME: text)"


def read_text(lines: Iterable[Line], *, mapping: Mapping[str, str], log: Log) -> Iterator[Draft]:
    """One turn per speaker line; a line that opens with no speaker continues the turn above it, joined by a space.

    Every line of a date, a time and a name begins a turn, and the moment becomes its timestamp (see
    `erc.transcripts.readers.timestamps`). Among such lines, one with a date and no name is a message of the chat program
    and is passed over; where they are the most, a line without a date continues the message above whatever it
    begins with. `hh:mm:ss` before the name or behind it, in brackets or not, becomes the turn's start;
    `[12:30]`, which may be a time of day or an offset, is kept as `meta["clock"]`. What stood in brackets
    after the name is kept as `meta["aside"]`. A line that seems to open with a name and continues the turn
    above is told with its number, and so is a date that there is not.
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
            if row.damaged is not None:
                log.problem(row.number, f"{row.damaged!r} is no date", "left out, the turn stays")
            draft, parts, passing = _begun(row, row.named, dates), [row.named.text], False
        elif row.stamp is not None:
            passing = True
        elif not row.text.strip() or passing:
            continue
        elif draft is not None:
            parts.append(row.written.strip())
        else:
            log.problem(
                row.number, "stands before the first speaker (a turn begins with 'NAME: text')", "skipped"
            )
    if draft is not None:
        yield _with_text(draft, parts)
    _tell(rows, dates, log)


def _rows(lines: Iterable[Line]) -> list[_Row]:
    given = list(lines)
    rows = [_dated(line) or _plain(line) for line in given]
    first = next((place for place, row in enumerate(rows) if row.dated and row.named is not None), None)
    if first is None:  # dates alone make no turns: they are words
        rows = [_plain(line) for line in given]
    speakers = Speakers(row.text for row in rows)
    rows = _without_times_of_day(
        [row if row.named is not None else replace(row, named=speakers.match(row.text)) for row in rows],
        speakers,
    )
    undated = sum(not row.dated and row.named is not None for row in rows[first:]) if first is not None else 0
    if first is not None and undated < sum(row.dated and row.named is not None for row in rows):
        # An export dates each message, so here `PS: bring wine` is one more line of a message.
        rows[first:] = [row if row.dated else _undated(row, speakers) for row in rows[first:]]
        return rows
    begun = next((place for place, row in enumerate(rows) if row.named is not None), len(rows))
    return [
        row if row.dated or row.named or place < begun else replace(row, doubtful=_doubtful(row, speakers))
        for place, row in enumerate(rows)
    ]


def _undated(row: _Row, speakers: Speakers) -> _Row:
    return replace(
        row, named=None, undated=row.named.name if row.named is not None else _doubtful(row, speakers)
    )


def _doubtful(row: _Row, speakers: Speakers) -> str | None:
    named = speakers.match(row.text)  # one that was taken for a speaker but for the time of day before it
    return speakers.doubtful(row.text) if named is None else named.name


def _without_times_of_day(rows: list[_Row], speakers: Speakers) -> list[_Row]:
    """`12:30 Lunch: soup` begins a turn where that name speaks elsewhere too or most turns are written so; else its time of day is words."""
    bare = [row.named is not None and _is_bare(row) for row in rows]
    if sum(bare) * 2 > sum(row.named is not None for row in rows):
        return rows
    return [
        replace(row, named=None)
        if so and row.named is not None and not speakers.known(row.named.name)
        else row
        for row, so in zip(rows, bare, strict=True)
    ]


def _is_bare(row: _Row) -> bool:
    """Whether hours and minutes (or minutes and seconds) stand before the name without brackets."""
    return row.clock is not None and row.clock.count(":") == 1 and row.written.lstrip()[:1].isdigit()


def _dated(line: Line) -> _Row | None:
    if (found := take_stamp(line.text)) is not None:
        return _Row(line.number, found[1], line.text, stamp=found[0], named=_sender(found[1]))
    if (damaged := take_damaged(line.text)) is not None and (named := _sender(damaged[1])) is not None:
        return _Row(line.number, damaged[1], line.text, damaged=damaged[0], named=named)
    return None


def _sender(text: str) -> Named | None:
    return split_name(text.lstrip("~ \u202f"), phones=True)


def _plain(line: Line) -> _Row:
    match = _CLOCK.match(line.text)
    if match is None:
        return _Row(line.number, line.text, line.text)
    text = line.text[match.end() :]
    clock = match["within"] or match["bare"]
    return _Row(line.number, text, f"[{clock}] {text.strip()}" if match["within"] else line.text, clock=clock)


def _begun(row: _Row, named: Named, dates: Dates) -> Draft:
    draft = Draft(
        line=row.number,
        text="",
        speakers=(named.name,),
        timestamp=None if row.stamp is None else dates.moment(row.stamp),
    )
    if named.aside:
        draft.meta["aside"] = named.aside
    clock = row.clock or named.clock
    if clock is not None and clock.count(":") == 2:
        draft.start = clock_seconds(clock)
    elif clock is not None:
        draft.meta["clock"] = clock
    return draft


def _tell(rows: Sequence[_Row], dates: Dates, log: Log) -> None:
    """Notes on what was read one way and might have been meant another."""
    if (stamp := dates.doubtful) is not None:
        log.note(
            f"dates are read {'day' if dates.day_first else 'month'} first, as nothing speaks against it: {stamp.written} is {dates.moment(stamp)}"
        )
    if messages := [
        row.number for row in rows if row.stamp is not None and row.named is None and row.text.strip()
    ]:
        log.note(
            f"{len(messages)} dated line(s) name no sender and are passed over, the first is line {messages[0]}"
        )
    if undated := [(row.number, row.undated) for row in rows if row.undated is not None]:
        log.note(
            f"{len(undated)} line(s) with a name and no date are read as more of the message above: {_listed(undated)}"
        )
    if doubtful := [(row.number, row.doubtful) for row in rows if row.doubtful is not None]:
        log.note(
            f"{len(doubtful)} line(s) that seem to open with a name are read as more of the turn above: {_listed(doubtful)}; "
            "if that is a speaker, write 'NAME: text', with a capital letter or the name in square brackets"
        )


def _listed(lines: Sequence[tuple[int, str]]) -> str:
    more = f" and {len(lines) - _TOLD} more" if len(lines) > _TOLD else ""
    return ", ".join(f"line {number} ({name!r})" for number, name in lines[:_TOLD]) + more


def _with_text(draft: Draft, parts: list[str]) -> Draft:
    draft.text = " ".join(part for part in parts if part)
    return draft
