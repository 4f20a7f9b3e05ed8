"""Speaker history held in memory, for training and evaluation on a corpus.

Every look-up is strictly before a moment, so filling the history with a whole corpus at once, or turn by turn
as the corpus goes by, gives the same answers: a model never reads a turn that was not yet spoken.
"""

from __future__ import annotations

import random
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Literal

from erc.data.conversation import Conversation
from erc.data.history import HistoryProvider, Moment, PastUtterance, SpeakerHistory

MemoryScope = Literal["global", "dialogue"]
_NOBODY = SpeakerHistory(turns=(), utterances=0, conversations=0)


def sequence_numbers(conversations: Iterable[Conversation]) -> dict[str, float]:
    """The time of each conversation, by id: its place in the order given, which must be chronological.

    Raises ValueError for an id that stands twice, since the order of its turns would be undefined.
    """
    numbers: dict[str, float] = {}
    for number, conversation in enumerate(conversations):
        if conversation.conversation_id in numbers:
            raise ValueError(f"conversation id {conversation.conversation_id} stands twice")
        numbers[conversation.conversation_id] = float(number)
    return numbers


class _Timeline:
    """One speaker's turns in order, with the number of conversations up to each."""

    def __init__(self) -> None:
        self.turns: list[PastUtterance] = []
        self._moments: list[Moment] = []
        self._counts: list[int] | None = None

    def add(self, turn: PastUtterance) -> None:
        place = bisect_left(self._moments, turn.moment)
        self._counts = None
        if place < len(self._moments) and self._moments[place] == turn.moment:
            self.turns[place] = turn
            return
        self._moments.insert(place, turn.moment)
        self.turns.insert(place, turn)

    def before(self, moment: Moment) -> int:
        """How many turns lie strictly before `moment`."""
        return bisect_left(self._moments, moment)

    def conversations(self, count: int) -> int:
        """How many conversations the first `count` turns come from."""
        if self._counts is None:
            seen: set[str] = set()
            self._counts = [0]
            for moment in self._moments:
                seen.add(moment.conversation_id)
                self._counts.append(len(seen))
        return self._counts[count]


class InMemoryHistory:
    """A `HistoryProvider` over a corpus: `add` every turn, ask for what came before.

    With scope `dialogue` a look-up sees only the conversation of its `before` (CoMPM's memory), with `global`
    all of them.
    """

    def __init__(self, *, scope: MemoryScope = "global") -> None:
        self.scope: MemoryScope = scope
        self._timelines: dict[
            tuple[str, str | None], _Timeline
        ] = {}  # by speaker, and within a dialogue by conversation id

    def add(self, speaker: str, turn: PastUtterance) -> None:
        """Files `turn` under the key `speaker`; a turn at the same moment is replaced."""
        self._timelines.setdefault(self._place(speaker, turn.moment), _Timeline()).add(turn)

    def clear(self) -> None:
        """Forgets every turn."""
        self._timelines.clear()

    @property
    def speakers(self) -> tuple[str, ...]:
        """Keys that have turns, most turns first."""
        counts: Counter[str] = Counter()
        for (speaker, _), timeline in self._timelines.items():
            counts[speaker] += len(timeline.turns)
        return tuple(sorted(counts, key=lambda key: (-counts[key], key)))

    def history(self, speaker: str, *, before: Moment, limit: int) -> SpeakerHistory:
        """At most `limit` turns of `speaker` strictly before `before`, oldest first."""
        if limit < 0:
            raise ValueError(f"limit={limit}: a history cannot be negative")
        timeline = self._timelines.get(self._place(speaker, before))
        if timeline is None:
            return _NOBODY
        count = timeline.before(before)
        turns = tuple(timeline.turns[max(0, count - limit) : count])
        return SpeakerHistory(turns=turns, utterances=count, conversations=timeline.conversations(count))

    def _place(self, speaker: str, moment: Moment) -> tuple[str, str | None]:
        return speaker, None if self.scope == "global" else moment.conversation_id


class NoHistory:
    """The control without memory: every history is empty."""

    def history(self, speaker: str, *, before: Moment, limit: int) -> SpeakerHistory:
        """Nothing, whoever is asked for."""
        return _NOBODY


class OtherSpeakerHistory:
    """The control with someone else's memory: each speaker reads, at the same moment, that of one fixed other speaker.

    Speakers are paired with a neighbour in number of turns, so that the amount of memory stays comparable
    while its owner is wrong.
    """

    def __init__(self, provider: HistoryProvider, speakers: Sequence[str]) -> None:
        self._provider = provider
        self._other = {
            key: speakers[(place + 1) % len(speakers) if place % 2 == 0 else place - 1]
            for place, key in enumerate(speakers)
        }

    def history(self, speaker: str, *, before: Moment, limit: int) -> SpeakerHistory:
        """The other speaker's turns before `before`; nothing where there is no other."""
        other = self._other.get(speaker, speaker)
        return _NOBODY if other == speaker else self._provider.history(other, before=before, limit=limit)


def shuffled_speakers(
    turns: Iterable[tuple[str, PastUtterance]], *, seed: int, scope: MemoryScope = "global"
) -> InMemoryHistory:
    """The control with a memory of nobody: owners are dealt out anew among all turns.

    Each speaker keeps as many turns as before, at moments when somebody spoke; whose they are is random.
    """
    given = list(turns)
    owners = [speaker for speaker, _ in given]
    random.Random(seed).shuffle(owners)
    history = InMemoryHistory(scope=scope)
    for owner, (_, turn) in zip(owners, given, strict=True):
        history.add(owner, turn)
    return history
