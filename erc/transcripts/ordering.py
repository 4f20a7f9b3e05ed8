"""Sorts the turns of a conversation by their timestamps, because a turn may only see its past."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from datetime import UTC, datetime

from erc.transcripts.types import Draft, Log

JITTER = 5.0
"""Seconds by which a timestamp may precede an earlier turn's: clocks differ, and speakers overlap."""


def in_time_order(conversation_id: str, drafts: Sequence[Draft], log: Log) -> list[Draft]:
    """Sort turns by timestamp if the timestamps run backwards by more than `JITTER`, with a note.

    A newest-first file is reversed first, so that turns with equal timestamps are also in order. If a
    timestamp is missing, or the timestamps contradict each other or the seconds of the recording, the file
    order is kept, with a problem.
    """
    given = list(drafts)
    times = [_seconds(draft.timestamp) for draft in given]
    known = [time for time in times if time is not None]
    if not known:
        starts = [draft.start for draft in given if draft.start is not None]
        if len(starts) == len(given) and _is_newest_first(starts):
            kept = _KEPT.format(what="start times", why="it has no timestamps")
            log.problem(given[0].line, f"conversation {conversation_id!r}: {kept}")
        return given
    if not _runs_back(known):
        return given
    if (why := _contradiction(given, known)) is not None:
        log.problem(
            _first_back(given, times),
            f"conversation {conversation_id!r}: {_KEPT.format(what='timestamps', why=why)}",
        )
        return given
    dated = list(zip(known, given, strict=True))
    newest_first = _is_newest_first(known)
    ordered = [
        draft for _, draft in sorted(reversed(dated) if newest_first else dated, key=lambda pair: pair[0])
    ]
    moved = sum(one is not other for one, other in zip(given, ordered, strict=True))
    how = "newest first" if newest_first else "not sorted by time"
    log.note(
        f"conversation {conversation_id!r} is {how}: its turns are sorted by timestamp, "
        f"{moved} of {len(given)} change places"
    )
    return ordered


_KEPT = (
    "{what} run backwards, but {why}: the file order is kept, so turns may precede their past; "
    "sort the file by time"
)


def _contradiction(drafts: Sequence[Draft], known: Sequence[float]) -> str | None:
    """The reason why timestamps that run backwards cannot sort the turns; None if they can."""
    if len(known) < len(drafts):
        return f"{len(drafts) - len(known)} of {len(drafts)} turns have none"
    if (
        len({datetime.fromisoformat(draft.timestamp).tzinfo is None for draft in drafts if draft.timestamp})
        > 1
    ):
        return "some name their time zone and others do not"
    starts = [draft.start for draft in drafts if draft.start is not None]
    if len(starts) == len(drafts) and starts[-1] > starts[0] and not _runs_back(starts):
        return "the seconds of the recording (start) increase"
    return None


def _runs_back(times: Sequence[float]) -> bool:
    return _is_newest_first(times) or any(
        latest - time > JITTER for latest, time in zip(itertools.accumulate(times, max), times, strict=True)
    )


def _is_newest_first(times: Sequence[float]) -> bool:
    """Whether more steps go back than forward. A single step back must exceed the jitter."""
    steps = [later - earlier for earlier, later in itertools.pairwise(times)]
    back, forward = sum(step < 0 for step in steps), sum(step > 0 for step in steps)
    return back > forward and (back > 1 or min(steps) < -JITTER)


def _first_back(drafts: Sequence[Draft], times: Sequence[float | None]) -> int:
    dated = [(time, draft) for time, draft in zip(times, drafts, strict=True) if time is not None]
    return next(
        (draft.line for (before, _), (time, draft) in itertools.pairwise(dated) if time < before),
        drafts[0].line,
    )


def _seconds(timestamp: str | None) -> float | None:
    if timestamp is None:
        return None
    moment = datetime.fromisoformat(timestamp)
    return (moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)).timestamp()
