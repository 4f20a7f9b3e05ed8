"""What a prompt shows beside the target, and in which order it gives way where that is too much."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

from erc.llm.prompts.notes import Demonstration, SpeakerBio


@dataclass(frozen=True, slots=True)
class Parts:
    """Lines of the past, bios, remembered turns as the template reads them, and demonstrations, the nearest last."""

    lines: tuple[str, ...] = ()
    bios: tuple[SpeakerBio, ...] = ()
    history: tuple[dict[str, object], ...] = ()
    demonstrations: tuple[Demonstration, ...] = ()


def giving_way(parts: Parts, *, block: int) -> Iterator[Parts]:
    """`parts`, and then ever less of them, to nothing at all.

    First go demonstrations, the farthest before the nearest, then remembered turns, the oldest before the
    latest, then `block` lines of the past at a time, and last the bios, passage by passage.
    """
    yield parts
    while parts.demonstrations:
        yield (parts := replace(parts, demonstrations=parts.demonstrations[1:]))
    while parts.history:
        yield (parts := replace(parts, history=parts.history[1:]))
    while parts.lines:
        yield (parts := replace(parts, lines=parts.lines[block:]))
    while parts.bios:
        yield (parts := replace(parts, bios=shorter(parts.bios)))


def shorter(bios: tuple[SpeakerBio, ...]) -> tuple[SpeakerBio, ...]:
    """`bios` without the last passage of the longest; a bio without passages is gone."""
    longest = max(range(len(bios)), key=lambda place: (len(bios[place].passages), place))
    left = [
        replace(bio, passages=bio.passages[:-1]) if place == longest else bio
        for place, bio in enumerate(bios)
    ]
    return tuple(bio for bio in left if bio.passages)


def beyond(costs: Sequence[int], *, room: int, block: int) -> int:
    """How many of the oldest lines, in whole blocks, are too many for `room` tokens; the last block may be a part of one."""
    first = len(costs)
    while first > 0 and costs[first - 1] <= room:
        first -= 1
        room -= costs[first]
    return min(-(-first // block) * block, len(costs))


def most(limit: int, fits: Callable[[int], bool]) -> int:
    """The largest number up to `limit` that fits; 0 is taken to."""
    least = 0
    while least < limit:
        middle = (least + limit + 1) // 2
        least, limit = (middle, limit) if fits(middle) else (least, middle - 1)
    return least
