"""Speaker history in memory, for training and evaluation on a corpus.

Every look-up returns only turns strictly before a moment. A history filled with a whole corpus therefore
gives the same results as one filled turn by turn, and a model never reads a later turn.
"""

from __future__ import annotations

import random
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Literal

from erc.data.conversation import Conversation, Utterance
from erc.data.history import HistoryProvider, Moment, PastUtterance, SpeakerHistory

if TYPE_CHECKING:
    import numpy as np

MemoryScope = Literal["global", "dialogue"]
_NOBODY = SpeakerHistory(turns=(), utterances=0, conversations=0)


def sequence_numbers(conversations: Iterable[Conversation]) -> dict[str, float]:
    """The time of each conversation by id: its position in the given order, which must be chronological.

    Raises:
        ValueError: for a repeated id.
    """
    numbers: dict[str, float] = {}
    for number, conversation in enumerate(conversations):
        if conversation.conversation_id in numbers:
            raise ValueError(f"conversation id {conversation.conversation_id} is repeated")
        numbers[conversation.conversation_id] = float(number)
    return numbers


def observed_turns(
    conversations: Iterable[Conversation],
    times: Mapping[str, float],
    *,
    embeddings: np.ndarray,
    probabilities: np.ndarray,
) -> Iterator[tuple[Conversation, Utterance, PastUtterance]]:
    """Every turn, with the values that a history stores for it.

    Args:
        conversations: Conversations, whose turns are U.
        times: The time of each conversation, by id.
        embeddings: (U, P), in the order of the turns.
        probabilities: (U, 28), in the order of the turns.
    """
    row = 0
    for conversation in conversations:
        identifier = conversation.conversation_id
        for turn in conversation:
            moment = Moment(times[identifier], identifier, turn.index)
            yield (
                conversation,
                turn,
                PastUtterance.observed(moment, embeddings[row], probabilities[row], turn.text),
            )
            row += 1


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
        """How many turns are strictly before `moment`."""
        return bisect_left(self._moments, moment)

    def conversations(self, count: int) -> int:
        """How many conversations the first `count` turns belong to."""
        if self._counts is None:
            seen: set[str] = set()
            self._counts = [0]
            for moment in self._moments:
                seen.add(moment.conversation_id)
                self._counts.append(len(seen))
        return self._counts[count]


class InMemoryHistory:
    """A `HistoryProvider` over a corpus, filled with `turns` (pairs of key and turn) and with `add`.

    With scope `dialogue` a look-up searches only the conversation of its `before`, as in CoMPM. With `global`
    it searches all conversations.
    """

    def __init__(
        self, turns: Iterable[tuple[str, PastUtterance]] = (), *, scope: MemoryScope = "global"
    ) -> None:
        self.scope: MemoryScope = scope
        self._timelines: dict[
            tuple[str, str | None], _Timeline
        ] = {}  # by speaker, and within a dialogue by conversation id
        for speaker, turn in turns:
            self.add(speaker, turn)

    def add(self, speaker: str, turn: PastUtterance) -> None:
        """Store `turn` for the key `speaker`; replaces a turn at the same moment."""
        self._timelines.setdefault(self._place(speaker, turn.moment), _Timeline()).add(turn)

    @property
    def speakers(self) -> tuple[str, ...]:
        """The keys with turns, those with most turns first."""
        counts: Counter[str] = Counter()
        for (speaker, _), timeline in self._timelines.items():
            counts[speaker] += len(timeline.turns)
        return tuple(sorted(counts, key=lambda key: (-counts[key], key)))

    def history(self, speaker: str, *, before: Moment, limit: int) -> SpeakerHistory:
        """At most `limit` turns of `speaker` strictly before `before`, oldest first.

        Raises:
            ValueError: for a negative `limit`.
        """
        if limit < 0:
            raise ValueError(f"limit={limit}: must not be negative")
        timeline = self._timelines.get(self._place(speaker, before))
        if timeline is None:
            return _NOBODY
        count = timeline.before(before)
        turns = tuple(timeline.turns[max(0, count - limit) : count])
        return SpeakerHistory(turns=turns, utterances=count, conversations=timeline.conversations(count))

    def _place(self, speaker: str, moment: Moment) -> tuple[str, str | None]:
        return speaker, None if self.scope == "global" else moment.conversation_id


class NoHistory:
    """Control condition without memory: every history is empty."""

    def history(self, speaker: str, *, before: Moment, limit: int) -> SpeakerHistory:
        """An empty history."""
        return _NOBODY


class OtherSpeakerHistory:
    """Control condition with the wrong memory: each speaker gets the history of one fixed other speaker.

    Each speaker is paired with one that has a similar number of turns, so amounts of history are comparable.
    """

    def __init__(self, provider: HistoryProvider, speakers: Sequence[str]) -> None:
        self._provider = provider
        self._other = {
            key: speakers[(place + 1) % len(speakers) if place % 2 == 0 else place - 1]
            for place, key in enumerate(speakers)
        }

    def history(self, speaker: str, *, before: Moment, limit: int) -> SpeakerHistory:
        """The other speaker's turns before `before`; empty if there is no other speaker."""
        other = self._other.get(speaker, speaker)
        return _NOBODY if other == speaker else self._provider.history(other, before=before, limit=limit)


def shuffled_speakers(
    turns: Iterable[tuple[str, PastUtterance]], *, seed: int, scope: MemoryScope = "global"
) -> InMemoryHistory:
    """Control condition with random memory: the speakers of all turns are shuffled by `seed`.

    Each speaker keeps the same number of turns.
    """
    given = list(turns)
    owners = [speaker for speaker, _ in given]
    random.Random(seed).shuffle(owners)
    return InMemoryHistory(zip(owners, (turn for _, turn in given), strict=True), scope=scope)
