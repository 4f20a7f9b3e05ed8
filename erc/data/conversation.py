"""The nouns: an utterance, a conversation, and what a prediction may see of it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

from erc.errors import InputError

_EMPTY: Mapping[str, Any] = MappingProxyType({})


def _nothing() -> Mapping[str, Any]:
    return _EMPTY


@dataclass(frozen=True, slots=True)
class Utterance:
    """One turn of a conversation.

    `speaker` is the name as written and owns the turn; `speakers` lists every name of a turn spoken by
    several (the first is the owner). `start` and `end` are seconds from the beginning of the recording,
    `timestamp` is an ISO 8601 moment. `emotions` holds gold labels where the source has them.
    """

    utterance_id: str
    index: int
    speaker: str
    text: str
    speakers: tuple[str, ...] = ()
    start: float | None = None
    end: float | None = None
    timestamp: str | None = None
    emotions: tuple[str, ...] = ()
    meta: Mapping[str, Any] = field(default_factory=_nothing, compare=False)

    def __post_init__(self) -> None:
        if not self.speakers:
            object.__setattr__(self, "speakers", (self.speaker,))
        elif self.speakers[0] != self.speaker:
            raise InputError(
                f"utterance {self.utterance_id}: the first of speakers={self.speakers} must be speaker={self.speaker!r}"
            )


@dataclass(frozen=True, slots=True)
class Conversation:
    """An ordered run of utterances; ids are unique and `index` counts from 0 without gaps.

    `corpus` names the corpus it came from (None for a user's transcript); global speaker ids live in that
    namespace.
    """

    conversation_id: str
    utterances: tuple[Utterance, ...]
    corpus: str | None = None
    meta: Mapping[str, Any] = field(default_factory=_nothing, compare=False)

    def __post_init__(self) -> None:
        seen: set[str] = set()
        for position, utterance in enumerate(self.utterances):
            if utterance.index != position:
                where = f"conversation {self.conversation_id}: utterance {utterance.utterance_id}"
                raise InputError(f"{where} has index {utterance.index} at position {position}")
            if utterance.utterance_id in seen:
                raise InputError(
                    f"conversation {self.conversation_id}: utterance id {utterance.utterance_id} stands twice"
                )
            seen.add(utterance.utterance_id)

    def __len__(self) -> int:
        return len(self.utterances)

    def __iter__(self) -> Iterator[Utterance]:
        return iter(self.utterances)

    @property
    def speakers(self) -> tuple[str, ...]:
        """Owners of turns in order of first appearance."""
        return tuple(dict.fromkeys(utterance.speaker for utterance in self.utterances))


@dataclass(frozen=True, slots=True)
class Context:
    """What the prediction for `target` may see: the turns before it, oldest first.

    `future` stays empty unless a caller asked for it by name (`Context.with_future`).
    """

    past: tuple[Utterance, ...]
    target: Utterance
    future: tuple[Utterance, ...] = ()

    @classmethod
    def causal(cls, conversation: Conversation, index: int, *, turns: int | None = None) -> Context:
        """The context of turn `index`: at most `turns` earlier turns (all of them for None)."""
        if turns is not None and turns < 0:
            raise ValueError(f"turns={turns}: a window cannot be negative")
        first = 0 if turns is None else max(0, index - turns)
        return cls(past=conversation.utterances[first:index], target=conversation.utterances[index])

    @classmethod
    def with_future(cls, conversation: Conversation, index: int, *, turns: int | None = None) -> Context:
        """As `causal`, with the later turns too. Figures made this way must say so."""
        causal = cls.causal(conversation, index, turns=turns)
        last = len(conversation) if turns is None else index + 1 + turns
        return cls(past=causal.past, target=causal.target, future=conversation.utterances[index + 1 : last])
