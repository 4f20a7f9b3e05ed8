"""Utterances, conversations, and the context that a prediction may see."""

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

    Attributes:
        utterance_id: Unique in the conversation.
        index: Position in the conversation, from 0.
        speaker: Name of the owner of the turn, as written.
        text: What was said.
        speakers: All names of a turn spoken by several; the first is the owner.
        start: Seconds from the beginning of the recording.
        end: Seconds from the beginning of the recording.
        timestamp: An ISO 8601 moment.
        emotions: Gold labels, if the source has them.
        meta: Other values of the source.

    Raises:
        InputError: when the first of `speakers` is not `speaker`.
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
                f"utterance {self.utterance_id}: the first of speakers={self.speakers} must be "
                f"speaker={self.speaker!r}"
            )


@dataclass(frozen=True, slots=True)
class Conversation:
    """Utterances in order. Their ids are unique, and `index` counts from 0 without gaps.

    `corpus` is the name of its corpus, None for a user's transcript. It is the namespace of speaker names.

    Raises:
        InputError: for a repeated utterance id or a wrong index.
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
                    f"conversation {self.conversation_id}: utterance id {utterance.utterance_id} is repeated"
                )
            seen.add(utterance.utterance_id)

    def __len__(self) -> int:
        return len(self.utterances)

    def __iter__(self) -> Iterator[Utterance]:
        return iter(self.utterances)

    @property
    def speakers(self) -> tuple[str, ...]:
        """The owners of turns, in order of first appearance."""
        return tuple(dict.fromkeys(utterance.speaker for utterance in self.utterances))


@dataclass(frozen=True, slots=True)
class Context:
    """What the prediction for `target` may see: the turns before it, oldest first."""

    past: tuple[Utterance, ...]
    target: Utterance

    @classmethod
    def causal(cls, conversation: Conversation, index: int, *, turns: int | None = None) -> Context:
        """The context of turn `index`: at most `turns` earlier turns, or all for None.

        Raises:
            ValueError: for negative `turns`.
        """
        if turns is not None and turns < 0:
            raise ValueError(f"turns={turns}: must not be negative")
        first = 0 if turns is None else max(0, index - turns)
        return cls(past=conversation.utterances[first:index], target=conversation.utterances[index])
