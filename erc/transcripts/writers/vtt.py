"""Writer of WebVTT with the emotion in every cue, both as text and as a class for style sheets.

A cue reads `<v.joy Ana>(joy) What a day!</v>`. A turn whose decision is `review` is marked `(joy?)` and gets
the class `review`. The reader of this package removes the marks.
"""

from __future__ import annotations

import html
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, BinaryIO

from erc.errors import InputError
from erc.transcripts.cue_times import vtt_time
from erc.transcripts.readers.vtt import cue_fields
from erc.transcripts.writers.records import name_of, plain

_CHARACTERS_PER_SECOND = 15.0
_NO_CLASS = re.compile(r"[^\w-]+")


@dataclass(slots=True)
class _Pending:
    cue_id: str | None
    start: float
    end: float | None
    lines: list[str]


class VttWriter:
    """Writes one cue per source cue (`cues` or `meta["cues"]`), else one from `start` and `end`.

    A turn without an end gets the time needed to read it, but ends by the start of the next. Turns that share
    a source cue share the written one.
    """

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self._pending: _Pending | None = None
        stream.write(b"WEBVTT\n\n")

    def write(self, record: Mapping[str, Any]) -> None:
        """Write one record.

        Raises:
            InputError: for a record without a time or with an invalid one.
        """
        try:
            record = plain(record)
            cues = [
                cue_fields(cue) for cue in record.get("cues") or (record.get("meta") or {}).get("cues") or ()
            ]
            if not cues:
                if record.get("start") is None:
                    raise InputError(
                        f"{name_of(record)} has no start: WebVTT needs times, write JSON Lines or CSV instead"
                    )
                cues = [cue_fields({**record, "id": record.get("utterance_id")})]
            for cue_id, start, end, text in cues:
                self._add(cue_id, start, end, _voiced(record, text))
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise InputError(f"{name_of(record)} cannot be written as WebVTT: {error!r}") from error

    def finish(self) -> None:
        """Write the last cue."""
        if self._pending is not None:
            self._flush(self._pending, None)
            self._pending = None

    def discard(self) -> None:
        """Drop the last cue."""
        self._pending = None

    def _add(self, cue_id: str | None, start: float, end: float | None, line: str) -> None:
        pending = self._pending
        if (
            pending is not None
            and cue_id is not None
            and (pending.cue_id, pending.start, pending.end) == (cue_id, start, end)
        ):
            pending.lines.append(line)
            return
        vtt_time(start)  # reject an impossible time in its own record
        if pending is not None:
            self._flush(pending, start)
        self._pending = _Pending(cue_id, start, end, [line])

    def _flush(self, cue: _Pending, following: float | None) -> None:
        end = cue.end
        if end is None:
            end = cue.start + max(1.0, sum(map(len, cue.lines)) / _CHARACTERS_PER_SECOND)
            if following is not None and cue.start < following < end:
                end = following
        head = "" if cue.cue_id is None else _one_line(str(cue.cue_id)).replace("-->", "--") + "\n"
        payload = "\n".join(cue.lines)
        self._stream.write(f"{head}{vtt_time(cue.start)} --> {vtt_time(end)}\n{payload}\n\n".encode())


def _voiced(record: Mapping[str, Any], text: str) -> str:
    emotion = record.get("emotion")
    words = html.escape(_one_line(text), quote=False)
    speaker = html.escape(_one_line(str(record.get("speaker") or "unknown")), quote=False)
    if not emotion:
        return f"<v {speaker}>{words}</v>"
    name = _NO_CLASS.sub("-", str(emotion))
    review = record.get("decision") == "review"
    return f"<v.{name}{'.review' if review else ''} {speaker}>({name}{'?' if review else ''}) {words}</v>"


def _one_line(text: str) -> str:
    # A blank line would end the cue.
    return " ".join(text.split())
