"""Labels a stream of conversations in start-time order, for use with a speaker memory."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterable, Iterator, Sequence

from erc.data import Conversation
from erc.inference.predictor import Labelled


def labelled_in_time(
    conversations: Iterable[Conversation],
    label: Callable[[Conversation], Labelled],
    *,
    began: Callable[[Conversation], float | None],
    hold: float,
    warn: Callable[[str], None],
) -> Iterator[Labelled]:
    """Labels in start-time order; yields in input order.

    Args:
        conversations: The stream.
        label: Labels one conversation and records it in the memory.
        began: Start time of a conversation in UTC seconds, None if unknown.
        hold: Turns to hold for reordering; 0 labels each conversation as it arrives. Conversations keep their
            input order where one of those held has no start time.
        warn: Called once when a conversation is labelled after one that began later.
    """
    latest, told = -math.inf, False
    for window in _windows(conversations, hold):
        times = [began(conversation) for conversation in window]
        order = _order(window, times)
        done: dict[int, Labelled] = {}
        given = 0
        for place in order:
            time = times[place]
            if time is not None and time < latest and not told:
                told = True
                warn(
                    f"{window[place].conversation_id}: begins before a conversation that is already "
                    "labelled and could not read it; standard input, very long inputs and inputs with "
                    "missing timestamps are labelled in input order: sort them by time"
                )
            latest = latest if time is None else max(latest, time)
            done[place] = label(window[place])
            while given in done:
                yield done.pop(given)
                given += 1


def _order(window: Sequence[Conversation], times: Sequence[float | None]) -> list[int]:
    dated = [
        -math.inf if not len(conversation) else time for conversation, time in zip(window, times, strict=True)
    ]
    known = [time for time in dated if time is not None]
    return (
        sorted(range(len(window)), key=known.__getitem__)
        if len(known) == len(window)
        else list(range(len(window)))
    )


def _windows(conversations: Iterable[Conversation], hold: float) -> Iterator[list[Conversation]]:
    source = iter(conversations)
    for first in source:
        window, turns = [first], len(first)
        while turns < hold and (more := list(itertools.islice(source, 1))):
            window += more
            turns += max(1, len(more[0]))
        yield window
