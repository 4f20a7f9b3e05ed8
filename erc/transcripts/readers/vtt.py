"""WebVTT captions of Teams (`<v Name>`), Zoom (`Name: text`) and others (`(Name)` on a separate line)."""

from __future__ import annotations

import html
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from erc.transcripts.cue_times import vtt_seconds
from erc.transcripts.readers.captions import Cue, Part, blocks, joined, split_at_times, spoken_parts
from erc.transcripts.readers.hints import caption_sign
from erc.transcripts.readers.speaker_names import LONGEST_NAME, Speakers
from erc.transcripts.types import Draft, Line, Log

_TIMES = re.compile(r"\s*([\d:.]{4,20})\s*-->\s*([\d:.]{4,20})(?:\s|$)")
_VOICE = re.compile(r"<v(?P<classes>(?:\.[^\s.>]{1,60}){0,8})(?:\s+(?P<name>[^>]{0,200}))?>")
_TAG = re.compile(r"</?(?:c|i|b|u|v|ruby|rt|lang)(?:[.\s][^<>]{0,200})?>|<\d[\d:.]{3,20}>")
_BRACKETED = re.compile(rf"\((?P<name>[^():]{{1,{LONGEST_NAME}}})\)$")


def sniff_vtt(lines: Sequence[str], suffix: str) -> tuple[float, str] | None:
    """WebVTT by its header, else by a point in the first cue time."""
    sign = caption_sign(lines)
    if sign == "header":
        return 1.0, "opens with WEBVTT"
    return (0.8, "cue times with a point (00:00:01.000 -->)") if sign == "point" else None


def read_vtt(lines: Iterable[Line], *, mapping: Mapping[str, str], log: Log) -> Iterator[Draft]:
    """Turns of a WebVTT file. Joins fragments of one speaker (see `readers.captions.joined`).

    A cue may hold several voices. Entities such as `&amp;` are decoded, and tags are dropped. A name on a
    separate line in round brackets is the speaker until the next such name. NOTE, STYLE and REGION blocks
    are skipped. A block without times is a problem.
    """
    del mapping
    cues = list(_cues(lines, log))
    speakers = Speakers(text for cue in cues for text in map(_plain, cue.lines))
    yield from joined(_parts(cues, speakers))


def _cues(lines: Iterable[Line], log: Log) -> Iterator[Cue]:
    for position, block in enumerate(blocks(lines)):
        head = block[0].text.lstrip("\ufeff")
        if position == 0 and not head.startswith("WEBVTT"):
            log.note("no WEBVTT line at the top; the file is read anyway")
        elif position == 0:
            if not any("-->" in line.text for line in block):
                continue
            block = block[1:]
        if head.startswith(("NOTE", "STYLE", "REGION")) and "-->" not in block[0].text:
            continue
        for piece in split_at_times(block):
            cue = _cue(piece, log)
            if cue is not None:
                yield cue


def _cue(block: list[Line], log: Log) -> Cue | None:
    at = next((index for index, line in enumerate(block) if "-->" in line.text), None)
    if at is None:
        log.problem(block[0].number, "a block without times (00:00:01.000 --> 00:00:02.000)", "skipped")
        return None
    match = _TIMES.match(block[at].text)
    start, end = map(vtt_seconds, match.groups()) if match else (None, None)
    if start is None or end is None or end < start:
        log.problem(
            block[at].number, f"the times {block[at].text.strip()[:60]!r} cannot be read", "cue skipped"
        )
        return None
    payload = tuple(line.text for line in block[at + 1 :])
    return Cue(
        line=block[at].number,
        cue_id=block[at - 1].text.strip() if at else None,
        start=start,
        end=end,
        lines=payload,
    )


def _parts(cues: Iterable[Cue], speakers: Speakers) -> Iterator[Part]:
    speaker: str | None = None
    for cue in cues:
        if any(_VOICE.search(line) for line in cue.lines):
            yield from _voices(cue, speakers)
            continue
        texts = [_plain(line) for line in cue.lines]
        named = _BRACKETED.match(texts[0]) if len(texts) > 1 else None
        if named is not None and not named["name"][0].islower():
            speaker, texts = " ".join(named["name"].split()), texts[1:]
        for part in spoken_parts(cue, texts, speakers):
            yield (
                part
                if part.speaker or part.opens or speaker is None
                else Part(cue=cue, speaker=speaker, text=part.text)
            )


def _voices(cue: Cue, speakers: Speakers) -> Iterator[Part]:
    payload = "\n".join(cue.lines)
    spans = list(_VOICE.finditer(payload))
    before = payload[: spans[0].start()]
    yield from spoken_parts(cue, [text for text in map(_plain, before.split("\n")) if text], speakers)
    for span, following in zip(spans, [*spans[1:], None], strict=True):
        text = payload[span.end() : following.start() if following else len(payload)]
        plain = " ".join(word for word in map(_plain, text.split("\n")) if word)
        name = " ".join(html.unescape(span["name"] or "").split()) or None
        if plain or name:
            yield Part(cue=cue, speaker=name, text=_without_marker(plain, span))


def _without_marker(text: str, span: re.Match[str]) -> str:
    # The writer puts the emotion into the classes of the voice tag and, in brackets, before the words.
    for name in span["classes"].split(".")[1:]:
        for marker in (f"({name})", f"({name}?)"):
            if text.startswith(marker):
                return text[len(marker) :].strip()
    return text


def _plain(line: str) -> str:
    return html.unescape(_TAG.sub("", line)).replace("\xa0", " ").strip()


def cue_fields(cue: Mapping[str, Any]) -> tuple[str | None, float, float | None, str]:
    """(id, start, end, text) of one entry of `meta["cues"]`.

    Raises:
        KeyError: when the start or the text is missing.
        TypeError: when a time is not a number.
        ValueError: when a time is a string that is not a number.
    """
    end = cue.get("end")
    return cue.get("id"), float(cue["start"]), None if end is None else float(end), str(cue["text"])
