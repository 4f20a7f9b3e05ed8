"""What a prompt shows besides the target, and the order in which parts are dropped."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

from erc.llm.prompts.notes import Demonstration, SpeakerBio


@dataclass(frozen=True, slots=True)
class Parts:
    """What a prompt shows besides the target.

    Attributes:
        lines: Lines of the past, oldest first.
        bios: Bios of the speakers.
        history: Remembered turns in the form the template reads.
        demonstrations: Labelled turns, the most similar last.
    """

    lines: tuple[str, ...] = ()
    bios: tuple[SpeakerBio, ...] = ()
    history: tuple[dict[str, object], ...] = ()
    demonstrations: tuple[Demonstration, ...] = ()


def truncations(parts: Parts, *, block: int) -> Iterator[Parts]:
    """Yields `parts`, then smaller and smaller versions, down to empty parts.

    Dropped first are demonstrations, the least similar first. Then remembered turns, oldest first; then
    `block` lines of the past at a time; last the bios, passage by passage.
    """
    yield parts
    while parts.demonstrations:
        yield (parts := replace(parts, demonstrations=parts.demonstrations[1:]))
    while parts.history:
        yield (parts := replace(parts, history=parts.history[1:]))
    while parts.lines:
        yield (parts := replace(parts, lines=parts.lines[block:]))
    while parts.bios:
        yield (parts := replace(parts, bios=shorten_bios(parts.bios)))


def shorten_bios(bios: tuple[SpeakerBio, ...]) -> tuple[SpeakerBio, ...]:
    """Removes the last passage of the longest bio; a bio without passages is removed."""
    longest = max(range(len(bios)), key=lambda place: (len(bios[place].passages), place))
    left = [
        replace(bio, passages=bio.passages[:-1]) if place == longest else bio
        for place, bio in enumerate(bios)
    ]
    return tuple(bio for bio in left if bio.passages)


def oldest_beyond(costs: Sequence[int], *, room: int, block: int) -> int:
    """How many of the oldest lines exceed `room` tokens, in whole blocks except for the last block."""
    first = len(costs)
    while first > 0 and costs[first - 1] <= room:
        first -= 1
        room -= costs[first]
    return min(-(-first // block) * block, len(costs))


def largest_fitting(limit: int, fits: Callable[[int], bool]) -> int:
    """The largest number up to `limit` for which `fits` holds, by bisection; 0 is assumed to fit."""
    least = 0
    while least < limit:
        middle = (least + limit + 1) // 2
        least, limit = (middle, limit) if fits(middle) else (least, middle - 1)
    return least
