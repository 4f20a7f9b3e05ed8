"""Code shared by the two caption formats: blocks of lines, cues, speakers, and joining of fragments.

Blocks are parsed one by one, so a broken cue is reported with its line and the others are read. Caption
libraries silently drop a broken cue or append its words to the previous cue.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from erc.transcripts.readers.speaker_names import Named, Speakers
from erc.transcripts.types import Draft, Line

LONGEST_PAUSE = 2.0
"""Longest pause in seconds between two cues of one turn."""
LONGEST_TURN = 30.0
"""Longest turn in seconds that is joined from cues without punctuation."""

_SENTENCE_END = re.compile(r"[.?!…。！？؟][\"'’”»)\]]{0,3}$")
_DASH = re.compile(r"[-–—]\s*(?=\S)")


@dataclass(frozen=True, slots=True)
class Cue:
    """One caption.

    Attributes:
        line: The number of the line with its times.
        cue_id: Its number or id.
        start: In seconds.
        end: In seconds.
        lines: Its text.
    """

    line: int
    cue_id: str | None
    start: float
    end: float
    lines: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Part:
    """What one speaker says in one cue.

    Attributes:
        cue: The cue.
        speaker: The speaker's name; None if the cue has none.
        text: The words.
        aside: The text in brackets after the name.
        opens: Whether a dash or a second voice shows that the speaker changed.
    """

    cue: Cue
    speaker: str | None
    text: str
    aside: str | None = None
    opens: bool = False


def blocks(lines: Iterable[Line]) -> Iterator[list[Line]]:
    """Runs of lines separated by blank lines, without line endings."""
    block: list[Line] = []
    for number, text in lines:
        text = text.rstrip("\r\n")
        if text.strip():
            block.append(Line(number, text))
        elif block:
            yield block
            block = []
    if block:
        yield block


def split_at_times(block: Sequence[Line]) -> Iterator[list[Line]]:
    """Split a block with several time lines (a blank line is missing) into one block per cue.

    A number before a time line is the id of its cue.
    """
    starts = [position for position, line in enumerate(block) if "-->" in line.text]
    cuts = [0]
    for position in starts[1:]:
        has_id = position - 1 > cuts[-1] and block[position - 1].text.strip().isdecimal()
        cuts.append(position - 1 if has_id else position)
    for first, last in zip(cuts, [*cuts[1:], len(block)], strict=True):
        yield list(block[first:last])


def spoken_parts(cue: Cue, texts: Sequence[str], speakers: Speakers) -> Iterator[Part]:
    """Split the lines of a cue, without tags, at `NAME: text` and at the dashes of two speakers."""
    dashed = sum(bool(_DASH.match(text)) for text in texts) > 1
    current: Named | None = None
    words: list[str] = []
    opens = False
    for text in texts:
        dash = _DASH.match(text) if dashed else None
        body = text[dash.end() :] if dash else text
        named = speakers.match(body)
        if named is None and dash is None:
            words.append(body)
            continue
        if words:
            yield _part(cue, current, words, opens)
        current, words, opens = named, [body if named is None else named.text], dash is not None
    if words:
        yield _part(cue, current, words, opens)


def joined(parts: Iterable[Part]) -> Iterator[Draft]:
    """Join consecutive parts of one speaker into turns.

    A part continues the turn if the pause is at most `LONGEST_PAUSE`, no sentence has ended, and the turn
    stays within `LONGEST_TURN`. A part without a speaker may continue any turn. The source cues are kept in
    `meta["cues"]` (id, start, end, text of this speaker), so that they can be written again.
    """
    draft: Draft | None = None
    for part in parts:
        if draft is not None and _continues(draft, part):
            draft.text = f"{draft.text} {part.text}".strip()
            draft.end = max(draft.end or part.cue.end, part.cue.end)
            draft.meta["cues"] += (_kept(part),)
            continue
        if draft is not None:
            yield draft
        draft = Draft(
            line=part.cue.line,
            text=part.text,
            speakers=() if part.speaker is None else (part.speaker,),
            start=part.cue.start,
            end=part.cue.end,
            meta={"cues": (_kept(part),)},
        )
        if part.aside:
            draft.meta["aside"] = part.aside
    if draft is not None:
        yield draft


def _part(cue: Cue, named: Named | None, words: list[str], opens: bool) -> Part:
    text = " ".join(word.strip() for word in words if word.strip())
    return Part(
        cue=cue,
        speaker=named.name if named else None,
        text=text,
        aside=named.aside if named else None,
        opens=opens,
    )


def _continues(draft: Draft, part: Part) -> bool:
    same = part.speaker is None if not draft.speakers else part.speaker in (None, draft.speakers[0])
    if not same or part.opens or part.aside:
        return False
    pause = part.cue.start - (draft.end or 0.0)
    short = part.cue.end - (draft.start or 0.0) <= LONGEST_TURN
    return pause <= LONGEST_PAUSE and short and not _SENTENCE_END.search(draft.text)


def _kept(part: Part) -> dict[str, Any]:
    return {"id": part.cue.cue_id, "start": part.cue.start, "end": part.cue.end, "text": part.text}
