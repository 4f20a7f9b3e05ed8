"""Taking conversations in their order of time where a memory lies between them: what a later one leaves is no past of an earlier one."""

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
    """Labels conversations in the order in which they `began` and gives them out in that in which they came.

    At most about `hold` turns are held for it; with 0 every conversation is labelled as it comes. Where one
    of those held has no time, their own order stands. The first that is labelled after one that began later
    is told to `warn`, as it did not read what it should have.
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
                    f"{window[place].conversation_id}: begins before a conversation that was labelled ahead of it, which did not know of it; on "
                    "standard input, in very long input and beside conversations without timestamps the order of the input stands: sort it by time"
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
