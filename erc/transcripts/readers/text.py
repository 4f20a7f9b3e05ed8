"""Plain text and chat exports, with continuation lines.

A turn opens with `NAME: text`, `NAME (aside): text`, `[SPEAKER_00]: text` or `00:01:02 NAME: text`.
"""

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
_LISTED = 20  # lines of one kind that a note lists; the rest are counted


@dataclass(frozen=True, slots=True)
class _Row:
    """One line, split into its parts.

    Attributes:
        number: The number of the line.
        text: The text after date and clock.
        written: The text with the clock in front of it.
        stamp: The date in front of it.
        damaged: Text shaped like a date but invalid.
        clock: A time such as `00:01:02` in front of it.
        named: The speaker and their words.
        undated: A name that is ignored because this line, unlike the others, has no date.
        doubtful: A name that may be a speaker but was not accepted.
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
        """Whether the line begins with a date, valid or not."""
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
    """One turn per line with a speaker. A line without a speaker continues the turn above, joined by a space.

    A line with date, time and name begins a turn with a timestamp (see `erc.transcripts.readers.timestamps`).
    Among such lines, a line with a date but no name is a message of the chat program and is skipped. If most
    turns are dated, every undated line continues the message above.

    `hh:mm:ss` before or after the name, with or without brackets, becomes the turn's start. `[12:30]` may be
    a time of day or an offset, and is kept as `meta["clock"]`. Brackets after the name are kept as
    `meta["aside"]`. Lines that seem to open with a name but continue the turn above are listed in a note.
    Invalid dates are problems.
    """
    del mapping
    rows = _rows(lines)
    dates = Dates(row.stamp for row in rows if row.stamp is not None)
    draft: Draft | None = None
    parts: list[str] = []
    skipping = False  # the lines of a message of the chat program
    for row in rows:
        if row.named is not None:
            if draft is not None:
                yield _with_text(draft, parts)
            if row.damaged is not None:
                log.problem(row.number, f"{row.damaged!r} is not a valid date", "left out, the turn stays")
            draft, parts, skipping = _begun(row, row.named, dates), [row.named.text], False
        elif row.stamp is not None:
            skipping = True
        elif not row.text.strip() or skipping:
            continue
        elif draft is not None:
            parts.append(row.written.strip())
        else:
            log.problem(
                row.number, "text before the first speaker (a turn begins with 'NAME: text')", "skipped"
            )
    if draft is not None:
        yield _with_text(draft, parts)
    _note_choices(rows, dates, log)


def _rows(lines: Iterable[Line]) -> list[_Row]:
    given = list(lines)
    rows = [_dated(line) or _plain(line) for line in given]
    first = next((place for place, row in enumerate(rows) if row.dated and row.named is not None), None)
    if first is None:  # dates without names are part of the text
        rows = [_plain(line) for line in given]
    speakers = Speakers(row.text for row in rows)
    rows = _without_times_of_day(
        [row if row.named is not None else replace(row, named=speakers.match(row.text)) for row in rows],
        speakers,
    )
    undated = sum(not row.dated and row.named is not None for row in rows[first:]) if first is not None else 0
    if first is not None and undated < sum(row.dated and row.named is not None for row in rows):
        # An export dates each message, so an undated `PS: bring wine` continues one.
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
    named = speakers.match(row.text)  # set if the speaker was rejected only because of the time of day
    return speakers.doubtful(row.text) if named is None else named.name


def _without_times_of_day(rows: list[_Row], speakers: Speakers) -> list[_Row]:
    """Remove speakers after a bare time of day (`12:30 Lunch: soup`), unless the name speaks elsewhere.

    If most turns are written so, all speakers are kept.
    """
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
    """Whether hours and minutes (or minutes and seconds) precede the name without brackets."""
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


def _note_choices(rows: Sequence[_Row], dates: Dates, log: Log) -> None:
    """Note every ambiguous input and how it was read."""
    if (stamp := dates.doubtful) is not None:
        log.note(
            f"dates are read {'day' if dates.day_first else 'month'} first, as no date decides it: "
            f"{stamp.written} is {dates.moment(stamp)}"
        )
    if messages := [
        row.number for row in rows if row.stamp is not None and row.named is None and row.text.strip()
    ]:
        log.note(
            f"{len(messages)} dated line(s) name no sender and are skipped, the first is line {messages[0]}"
        )
    if undated := [(row.number, row.undated) for row in rows if row.undated is not None]:
        log.note(
            f"{len(undated)} line(s) with a name but no date continue the message above: {_listed(undated)}"
        )
    if doubtful := [(row.number, row.doubtful) for row in rows if row.doubtful is not None]:
        log.note(
            f"{len(doubtful)} line(s) that seem to open with a name continue the turn above: "
            f"{_listed(doubtful)}; if it is a speaker, write 'NAME: text' "
            "with a capital letter, or the name in square brackets"
        )


def _listed(lines: Sequence[tuple[int, str]]) -> str:
    more = f" and {len(lines) - _LISTED} more" if len(lines) > _LISTED else ""
    return ", ".join(f"line {number} ({name!r})" for number, name in lines[:_LISTED]) + more


def _with_text(draft: Draft, parts: list[str]) -> Draft:
    draft.text = " ".join(part for part in parts if part)
    return draft
