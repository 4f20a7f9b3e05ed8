"""Demonstrations for a prompt: labelled turns of a training corpus, the most similar to the target.

They are found by embedding only. A search that reads the target's label leaks the answer, as in published
code, so `search` takes no label. Turns of the target's own conversation or episode, and turns with exactly
the target's text, are never shown. The corpus passes the leak filter first.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import faiss
import numpy as np

from erc.data.conversation import Conversation, Utterance
from erc.data.leaks import LeakFilter, LeakReport, normalise
from erc.llm.prompts.notes import Demonstration

Embed = Callable[[Sequence[str]], np.ndarray]
"""Makes the vectors (N, D) of N texts: `embed` of a `TextEmbedder`."""


@dataclass(frozen=True, slots=True)
class TurnSource:
    """The conversation of a target, and its episode if known. No turn of either is shown."""

    conversation_id: str | None = None
    episode: tuple[int, int] | None = None

    @classmethod
    def of(cls, conversation: Conversation) -> TurnSource:
        """The source of a conversation's turns. Episodes are compared across corpora of one series."""
        meta = conversation.meta
        episode = (
            (int(meta["season"]), int(meta["episode"])) if "season" in meta and "episode" in meta else None
        )
        return cls(conversation.conversation_id, episode)


class DemonstrationIndex:
    """Labelled turns of a training corpus, searched by cosine similarity. Read-only and thread-safe."""

    def __init__(
        self,
        demonstrations: Sequence[Demonstration],
        origins: Sequence[TurnSource],
        vectors: np.ndarray,
        *,
        report: LeakReport,
    ) -> None:
        self.demonstrations = tuple(demonstrations)
        self.report = report
        self._rows: dict[tuple[str, object], list[int]] = defaultdict(list)
        for row, (shown, origin) in enumerate(zip(self.demonstrations, origins, strict=True)):
            for key in _keys(origin, shown.turns[-1][1]):
                self._rows[key].append(row)
        unit = _unit(vectors)
        self._index = faiss.IndexFlatIP(unit.shape[1])
        self._index.add(unit)

    @classmethod
    def build(
        cls,
        conversations: Sequence[Conversation],
        embed: Embed,
        *,
        leaks: LeakFilter,
        labels: Sequence[str],
        turns: int = 2,
        names: bool = True,
        balanced: bool = False,
    ) -> DemonstrationIndex:
        """Indexes every turn with exactly one label of `labels`, with up to `turns` turns before it.

        Args:
            conversations: The training split.
            embed: Computes the vectors (N, D) of N texts.
            leaks: Decides which conversations are left out.
            labels: The label set.
            turns: Most turns before the labelled one.
            names: Whether demonstrations keep the names of their speakers.
            balanced: Whether to index equally many turns of each label, as many as the rarest one has.

        Raises:
            ValueError: no labelled turn is left.
        """
        kept, report = leaks.apply(conversations)
        found = [
            (conversation, turn)
            for conversation in kept
            for turn in conversation
            if len(turn.emotions) == 1 and turn.emotions[0] in labels and turn.text.strip()
        ]
        if not found:
            raise ValueError(f"no labelled turn is left to demonstrate with ({report})")
        if balanced:
            found = _balanced(found)
        shown = [_demonstration(*one, turns=turns, names=names) for one in found]
        origins = [TurnSource.of(conversation) for conversation, _ in found]
        return cls(shown, origins, embed([turn.text for _, turn in found]), report=report)

    def __len__(self) -> int:
        return len(self.demonstrations)

    def search(
        self, vector: np.ndarray, *, text: str, origin: TurnSource, k: int
    ) -> tuple[Demonstration, ...]:
        """At most `k` demonstrations for a target's `vector` (D,) and `text`, the most similar last."""
        barred = sorted({row for key in _keys(origin, text) for row in self._rows.get(key, ())})
        count = min(k, len(self) - len(barred))
        if count < 1:
            return ()
        selector = faiss.IDSelectorNot(faiss.IDSelectorBatch(np.array(barred, dtype=np.int64)))
        params = faiss.SearchParameters()
        params.sel = selector
        _, found = self._index.search(_unit(vector[None]), count, params=params)
        return tuple(self.demonstrations[row] for row in reversed(found[0]) if row >= 0)


def _demonstration(conversation: Conversation, turn: Utterance, *, turns: int, names: bool) -> Demonstration:
    part = conversation.utterances[max(0, turn.index - turns) : turn.index + 1]
    pairs = tuple((one.speaker if names else None, one.text) for one in part)
    return Demonstration(pairs, turn.emotions[0], conversation.conversation_id)


def _balanced(found: Sequence[tuple[Conversation, Utterance]]) -> list[tuple[Conversation, Utterance]]:
    """Equally many turns of each label, in the order given.

    The choice depends on a hash of the turn id, so leaving out a conversation changes few other choices.
    """
    places: dict[str, list[int]] = defaultdict(list)
    for place, (_, turn) in enumerate(found):
        places[turn.emotions[0]].append(place)

    def order(place: int) -> bytes:
        conversation, turn = found[place]
        return hashlib.sha256(f"{conversation.conversation_id}\n{turn.index}".encode()).digest()

    fewest = min(map(len, places.values()))
    chosen = sorted(place for of_label in places.values() for place in sorted(of_label, key=order)[:fewest])
    return [found[place] for place in chosen]


def _keys(origin: TurnSource, text: str) -> list[tuple[str, object]]:
    """Keys that a demonstration and a target must not share."""
    keys: list[tuple[str, object]] = [("text", normalise(text))]
    if origin.conversation_id is not None:
        keys.append(("conversation", origin.conversation_id))
    if origin.episode is not None:
        keys.append(("episode", origin.episode))
    return keys


def _unit(vectors: np.ndarray) -> np.ndarray:
    values = np.ascontiguousarray(vectors, dtype=np.float32)
    norms = np.linalg.norm(values, axis=1, keepdims=True)
    return values / np.where(norms > 0, norms, 1.0)
