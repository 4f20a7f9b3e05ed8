"""Plain text: `NAME: text`, `NAME (aside): text`, `[SPEAKER_00]: text`, with continuation lines."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping

from erc.transcripts.names import Speakers
from erc.transcripts.nouns import Draft, Line, Log
from erc.transcripts.values import clock_seconds

_CLOCK = re.compile(r"\s{0,8}[(\[](?P<clock>\d{1,3}:\d{2}(?::\d{2}(?:[.,]\d{1,3})?)?)[)\]]\s{0,8}")


def read_text(lines: Iterable[Line], *, mapping: Mapping[str, str], log: Log) -> Iterator[Draft]:
    """One turn per speaker line; a line that opens with no speaker continues the turn above it, joined by a space.

    `[hh:mm:ss]` before the name becomes the turn's start; `[12:30]`, which may be a time of day or an offset, is kept
    as `meta["clock"]`. What stood in brackets after the name is kept as `meta["aside"]`.
    """
    del mapping
    kept = [(line.number, *_take_clock(line.text)) for line in lines]
    speakers = Speakers(text for _, _, text in kept)
    draft: Draft | None = None
    parts: list[str] = []
    doubtful: list[tuple[int, str]] = []
    for number, clock, text in kept:
        named = speakers.match(text)
        if named is None:
            if draft is not None and text.strip():
                parts.append(f"[{clock}] {text.strip()}" if clock else text.strip())
                if (word := speakers.doubtful(text)) is not None:
                    doubtful.append((number, word))
            elif text.strip():
                log.problem(number, "stands before the first speaker (a turn begins with 'NAME: text'): skipped")
            continue
        if draft is not None:
            yield _with_text(draft, parts)
        draft, parts = Draft(line=number, text="", speakers=(named.name,)), [named.text]
        if named.aside:
            draft.meta["aside"] = named.aside
        if clock is not None:
            if clock.count(":") == 2:
                draft.start = clock_seconds(clock)
            else:
                draft.meta["clock"] = clock
    if draft is not None:
        yield _with_text(draft, parts)
    if doubtful:
        line, word = doubtful[0]
        log.note(
            f"{len(doubtful)} line(s) that begin with a word and a colon are read as more of the turn above, the first is line {line} ({word!r}): "
            "if that is a speaker, write the name with a capital letter or in square brackets"
        )


def _take_clock(text: str) -> tuple[str | None, str]:
    match = _CLOCK.match(text)
    return (None, text) if match is None else (match["clock"], text[match.end() :])


def _with_text(draft: Draft, parts: list[str]) -> Draft:
    draft.text = " ".join(part for part in parts if part)
    return draft
