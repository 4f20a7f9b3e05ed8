"""SubRip captions: `[SPEAKER_00]: text`, `NAME: text`, or `- a` and `- b` for two speakers in one cue."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence

from erc.transcripts.cue_times import srt_times
from erc.transcripts.readers.captions import Cue, Part, blocks, joined, split_at_times, spoken_parts
from erc.transcripts.readers.hints import caption_sign
from erc.transcripts.readers.speaker_names import Speakers
from erc.transcripts.types import Draft, Line, Log

_TAG = re.compile(r"</?(?:i|b|u|s|font)(?:\s[^<>]{0,200})?>|\{\\[^{}]{0,200}\}", re.IGNORECASE)


def sniff_srt(lines: Sequence[str], suffix: str) -> tuple[float, str] | None:
    """SubRip if the first cue time has a comma."""
    if caption_sign(lines) != "comma":
        return None
    return 0.95, "cue times with a comma (00:00:01,000 -->)"


def read_srt(lines: Iterable[Line], *, mapping: Mapping[str, str], log: Log) -> Iterator[Draft]:
    """Turns of a SubRip file. Joins fragments of one speaker (see `readers.captions.joined`).

    Drops styling tags. A block without times continues the cue before it, because a caption may hold a blank
    line. If the block has a cue number or an arrow, its times are broken: it is skipped, with a problem.
    """
    del mapping
    cues = list(_cues(lines, log))
    speakers = Speakers(text for cue in cues for text in cue.lines)
    yield from joined(_parts(cues, speakers))


def _cues(lines: Iterable[Line], log: Log) -> Iterator[Cue]:
    waiting: Cue | None = None
    for block in blocks(lines):
        for piece in split_at_times(block):
            cue = _cue(piece)
            if cue is None and waiting is not None and not _looks_broken(piece):
                extra = tuple(_plain(line.text) for line in piece)
                waiting = Cue(waiting.line, waiting.cue_id, waiting.start, waiting.end, waiting.lines + extra)
            elif cue is None:
                log.problem(
                    piece[0].number,
                    "a block without readable times (00:00:01,000 --> 00:00:02,000)",
                    "skipped",
                )
            else:
                if waiting is not None:
                    yield waiting
                waiting = cue
    if waiting is not None:
        yield waiting


def _cue(block: list[Line]) -> Cue | None:
    at = next((index for index, line in enumerate(block) if "-->" in line.text), None)
    if at is None:
        return None
    times = srt_times(block[at].text)
    if len(times) != 2 or times[1] < times[0]:
        return None
    payload = tuple(text for text in (_plain(line.text) for line in block[at + 1 :]) if text)
    return Cue(
        line=block[at].number,
        cue_id=block[at - 1].text.strip() if at else None,
        start=times[0],
        end=times[1],
        lines=payload,
    )


def _looks_broken(block: list[Line]) -> bool:
    opening = block[0].text.strip()
    return opening.isdecimal() or any("-->" in line.text for line in block)


def _parts(cues: Iterable[Cue], speakers: Speakers) -> Iterator[Part]:
    for cue in cues:
        yield from spoken_parts(cue, cue.lines, speakers)


def _plain(text: str) -> str:
    return _TAG.sub("", text).strip()
