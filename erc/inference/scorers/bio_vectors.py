"""Bios as vectors, for a conversation model that attends to them (the encoder variant of BiosERC)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import numpy as np

from erc.data import Moment


class BioVectors:
    """A `BioProvider` over bios that were known when each conversation began, by conversation id and speaker key.

    The others of a conversation count as heard once they have been asked for themselves, which every turn
    does in its order: a conversation that is still going on is then read as a finished one is.
    """

    def __init__(self) -> None:
        self._vectors: dict[tuple[str, str], np.ndarray] = {}
        self._first: dict[str, dict[str, int]] = {}

    def __len__(self) -> int:
        return len(self._vectors)

    def add(self, conversation_id: str, speaker: str, vector: np.ndarray | None) -> None:
        """What is known of the speaker filed under the key `speaker`; None for nothing."""
        if vector is not None:
            self._vectors[conversation_id, speaker] = vector

    def heard(self, conversation_id: str, speakers: Iterable[str]) -> None:
        """Counts speakers as heard from the beginning, in this order; for a conversation that is gone on with."""
        first = self._first.setdefault(conversation_id, {})
        for speaker in speakers:
            first.setdefault(speaker, -1)

    def snapshot(self, conversation_id: str) -> Callable[[], None]:
        """Takes note of who was heard in a conversation so far; what is returned goes back there."""
        heard = dict(self._first.get(conversation_id, {}))

        def back() -> None:
            self._first[conversation_id] = heard

        return back

    def bios(self, speaker: str, *, before: Moment) -> Sequence[np.ndarray | None]:
        """Vectors (P,): the speaker's own first, None where it has none, then those of others heard before; empty where nothing is known."""
        first = self._first.setdefault(before.conversation_id, {})
        first[speaker] = min(before.index, first.get(speaker, before.index))
        others = sorted(
            (index, name) for name, index in first.items() if name != speaker and index < before.index
        )
        own, *rest = (
            self._vectors.get((before.conversation_id, name))
            for name in (speaker, *(name for _, name in others))
        )
        known = [vector for vector in rest if vector is not None]
        return [own, *known] if known or own is not None else []
