"""Bios as vectors, for a conversation model that attends to them (the encoder variant of BiosERC).

Shapes: P embedding width, R passages.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import numpy as np

from erc.data import Moment, PastBio

Embed = Callable[[Sequence[str]], np.ndarray]
"""Texts (R) to the shared classifier's embeddings (R, P)."""
_MOST_PASSAGES = 10_000  # vectors in the cache, about 15 MB


def bio_vector(bio: PastBio | None, embed: Embed) -> np.ndarray | None:
    """The mean of a bio's passage embeddings, (P,); None without a bio or without passages."""
    if bio is None or not bio.passages:
        return None
    vectors = embed(bio.passages) if bio.vectors is None else bio.vectors
    return np.asarray(vectors, dtype=np.float32).mean(axis=0)


class CachedEmbedding:
    """Caches embeddings of texts: a bio is read in every conversation of its person and seldom changes."""

    def __init__(self, embed: Embed) -> None:
        self._embed = embed
        self._vectors: dict[str, np.ndarray] = {}

    def __call__(self, texts: Sequence[str]) -> np.ndarray:
        """Embeddings (R, P) of the texts."""
        fresh = [text for text in dict.fromkeys(texts) if text not in self._vectors]
        if fresh and len(self._vectors) > _MOST_PASSAGES:
            self._vectors.clear()
            fresh = list(dict.fromkeys(texts))
        if fresh:
            self._vectors.update(zip(fresh, self._embed(fresh), strict=True))
        return np.stack([self._vectors[text] for text in texts])


class BioVectors:
    """A `BioProvider` over the bios known when each conversation began, by conversation id and speaker key.

    A speaker counts as heard after their first lookup, and every turn looks up its speaker. A live
    conversation therefore reads the same bios as a finished one.
    """

    def __init__(self) -> None:
        self._vectors: dict[tuple[str, str], np.ndarray] = {}
        self._first: dict[str, dict[str, int]] = {}

    def __len__(self) -> int:
        return len(self._vectors)

    def add(self, conversation_id: str, speaker: str, vector: np.ndarray | None) -> None:
        """Adds the bio of the speaker with the key `speaker`; None means there is none."""
        if vector is not None:
            self._vectors[conversation_id, speaker] = vector

    def heard(self, conversation_id: str, speakers: Iterable[str]) -> None:
        """Marks speakers of a resumed conversation as heard from its start, in this order."""
        first = self._first.setdefault(conversation_id, {})
        for speaker in speakers:
            first.setdefault(speaker, -1)

    def snapshot(self, conversation_id: str) -> Callable[[], None]:
        """Records who was heard in a conversation; the returned function restores it."""
        heard = dict(self._first.get(conversation_id, {}))

        def back() -> None:
            self._first[conversation_id] = heard

        return back

    def bios(self, speaker: str, *, before: Moment) -> Sequence[np.ndarray | None]:
        """Bio vectors (P,) of the speaker, then of the others heard before.

        The first is None for a speaker without a bio; the list is empty if no speaker has one.
        """
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
