"""A speaker's past and bios as tensors of a `TurnBatch`.

Shapes: U turns, N past turns of the speaker, E width of an observation, M distinct past turns or texts, T'
tokens of a past text, R bios, K width of a bio.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor

from erc.data.history import Moment, PastUtterance, SpeakerHistory
from erc.errors import InputError
from erc.models.encoder.batching import pad_tokens

# Token ids of at most this many past texts are cached, because a live conversation may never end.
_TEXTS_KEPT = 10_000


def history_mask(pasts: Sequence[SpeakerHistory]) -> Tensor:
    """Which places of a table of pasts are real, (U, N) bool; N is at least 1."""
    mask = torch.zeros(len(pasts), max(1, *(len(past.turns) for past in pasts)), dtype=torch.bool)
    for row, past in enumerate(pasts):
        mask[row, : len(past.turns)] = True
    return mask


def observation_tensors(
    pasts: Sequence[SpeakerHistory], *, embedding_width: int, labels: int
) -> dict[str, Tensor]:
    """`history_index` (U, N) and `observations` (M, E) of stored embeddings and probabilities.

    Empty if no turn has a past.

    Raises:
        InputError: If a past turn was observed by a classifier of other widths.
    """
    index = torch.zeros(history_mask(pasts).shape, dtype=torch.long)
    order: dict[Moment, int] = {}
    values: list[np.ndarray] = []
    for row, past in enumerate(pasts):
        for place, turn in enumerate(past.turns):
            if turn.moment not in order:
                order[turn.moment] = len(values)
                values.append(_observation(turn, embedding_width, labels))
            index[row, place] = order[turn.moment]
    return {"history_index": index, "observations": torch.from_numpy(np.stack(values))} if values else {}


def _observation(turn: PastUtterance, embedding_width: int, labels: int) -> np.ndarray:
    """Embedding and probabilities (E,) float32 of a past turn."""
    if (len(turn.embedding), len(turn.probabilities)) != (embedding_width, labels):
        raise InputError(
            f"a remembered turn has {len(turn.embedding)} + {len(turn.probabilities)} values, "
            f"this model reads {embedding_width} + {labels}: "
            "rebuild the speaker memory with the model that reads it"
        )
    return np.concatenate([turn.embedding, turn.probabilities], dtype=np.float32)


class PastTexts:
    """Token ids of past texts as tensors; each distinct text is tokenised once.

    `encode` tokenises texts, and `pad_id` fills the shorter ones.
    """

    def __init__(self, encode: Callable[[Sequence[str]], list[tuple[int, ...]]], *, pad_id: int) -> None:
        self._encode = encode
        self._pad_id = pad_id
        self._kept: dict[str, tuple[int, ...]] = {}

    def tensors(self, pasts: Sequence[SpeakerHistory]) -> dict[str, Tensor]:
        """`history_index` (U, N), `memory_ids` and `memory_mask` (M, T'); empty if no turn has a past.

        Raises:
            InputError: If a past turn was stored without its text.
        """
        index = torch.zeros(history_mask(pasts).shape, dtype=torch.long)
        order: dict[str, int] = {}
        for row, past in enumerate(pasts):
            for place, turn in enumerate(past.turns):
                if turn.text is None:
                    raise InputError(
                        f"turn {turn.moment.index} of {turn.moment.conversation_id} is remembered without "
                        "its text, which this model reads: store texts, or use a shared memory encoder"
                    )
                index[row, place] = order.setdefault(turn.text, len(order))
        if not order:
            return {}
        if len(self._kept) > _TEXTS_KEPT:
            self._kept.clear()
        fresh = [text for text in order if text not in self._kept]
        self._kept.update(zip(fresh, self._encode(fresh), strict=True))
        memory_ids, memory_mask = pad_tokens([self._kept[text] for text in order], pad_id=self._pad_id)
        return {"memory_ids": memory_ids, "memory_mask": memory_mask, "history_index": index}


def bio_tensors(bios: Sequence[Sequence[np.ndarray | None]]) -> dict[str, Tensor]:
    """`bios` (U, R, K) and `bio_mask` (U, R) of each turn's bios; empty if there are none."""
    known = [vector for vectors in bios for vector in vectors if vector is not None]
    if not known:
        return {}
    table = torch.zeros(len(bios), max(len(vectors) for vectors in bios), len(known[0]))
    mask = torch.zeros(table.shape[:2], dtype=torch.bool)
    for row, vectors in enumerate(bios):
        for place, vector in enumerate(vectors):
            if vector is not None:
                table[row, place] = torch.from_numpy(np.asarray(vector, dtype=np.float32))
                mask[row, place] = True
    return {"bios": table, "bio_mask": mask}
