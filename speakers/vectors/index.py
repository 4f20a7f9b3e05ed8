"""The vector index: a flat FAISS index in memory, built from the rows.

The index only proposes candidates. Scores are computed again in float64 from the rows. Enough candidates are
taken that float32 rounding cannot hide a nearer one. Answers therefore equal an exact scan, ties included.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

_BLOCK = 8_192


def exact_cosine(matrix: np.ndarray, query: np.ndarray) -> np.ndarray:
    """Cosines of rows (N, D) with a query (D,), shape (N,), in float64; 0 where either is the zero vector.

    Each score depends on its own row only, whichever rows are scored together.
    """
    wanted = np.asarray(query, dtype=np.float64)
    length = np.sqrt(np.sum(wanted * wanted))
    scores = np.zeros(len(matrix))
    for start in range(0, len(matrix), _BLOCK):
        block = np.ascontiguousarray(matrix[start : start + _BLOCK], dtype=np.float64)
        norms = np.sqrt(np.sum(block * block, axis=1)) * length
        dots = np.sum(block * wanted, axis=1)
        scores[start : start + _BLOCK] = np.divide(dots, norms, out=np.zeros_like(dots), where=norms > 0)
    return scores


def best(ids: np.ndarray, scores: np.ndarray, k: int) -> np.ndarray:
    """Positions of the k best, shape (<= k,): the larger score first, then the lower id."""
    return np.lexsort((ids, -scores))[:k]


def unit(matrix: np.ndarray) -> np.ndarray:
    """Rows (N, D) scaled to length 1, as float32; zero rows stay zero."""
    wide = np.asarray(matrix, dtype=np.float64)
    norms = np.sqrt(np.sum(wide * wide, axis=1, keepdims=True))
    return np.divide(wide, norms, out=np.zeros_like(wide), where=norms > 0).astype(np.float32)


@dataclass(slots=True)
class VectorIndex:
    """Unit vectors of one tenant's observations, with the columns that order them.

    Searches may run in parallel; `add` and `remove` need the caller's lock.

    Attributes:
        width: the length D of a vector.
        generation: the tenant's `generation` that the index includes.
        epoch: the tenant's `epoch` that the index includes.
        ids: observation row numbers (N,), ascending.
        times: times in UTC seconds (N,).
        sequences: sequence numbers of the conversations (N,).
        positions: indices of the turns (N,).
    """

    width: int
    generation: int = -1
    epoch: int = -1
    ids: np.ndarray = field(default_factory=lambda: np.empty(0, np.int64))
    times: np.ndarray = field(default_factory=lambda: np.empty(0, np.float64))
    sequences: np.ndarray = field(default_factory=lambda: np.empty(0, np.int64))
    positions: np.ndarray = field(default_factory=lambda: np.empty(0, np.int64))
    _faiss: Any = None

    def __post_init__(self) -> None:
        import faiss

        if self._faiss is None:
            self._faiss = faiss.IndexIDMap2(faiss.IndexFlatIP(self.width))

    def __len__(self) -> int:
        return len(self.ids)

    def add(
        self,
        *,
        ids: np.ndarray,
        vectors: np.ndarray,
        times: np.ndarray,
        sequences: np.ndarray,
        positions: np.ndarray,
    ) -> None:
        """Add rows newer than all in the index: unit vectors (N, D) and columns (N,).

        Raises:
            ValueError: the ids do not ascend. FAISS would store a repeated id twice.
        """
        if not len(ids):
            return
        if (len(self.ids) and ids[0] <= self.ids[-1]) or (np.diff(ids) <= 0).any():
            raise ValueError("ids must be ascending and above those in the index")
        self._faiss.add_with_ids(
            np.ascontiguousarray(vectors, np.float32), np.ascontiguousarray(ids, np.int64)
        )
        self.ids = np.concatenate([self.ids, np.asarray(ids, np.int64)])
        self.times = np.concatenate([self.times, np.asarray(times, np.float64)])
        self.sequences = np.concatenate([self.sequences, np.asarray(sequences, np.int64)])
        self.positions = np.concatenate([self.positions, np.asarray(positions, np.int64)])

    def remove(self, ids: np.ndarray) -> None:
        """Remove rows; ids that are not in the index are ignored."""
        import faiss

        gone = np.isin(self.ids, ids)
        if not gone.any():
            return
        self._faiss.remove_ids(faiss.IDSelectorBatch(np.ascontiguousarray(self.ids[gone])))
        self.ids, self.times = self.ids[~gone], self.times[~gone]
        self.sequences, self.positions = self.sequences[~gone], self.positions[~gone]

    def vectors(self) -> np.ndarray:
        """The unit vectors (N, D) in the order of `ids`: a view of FAISS's memory."""
        import faiss

        flat: Any = faiss.downcast_index(self._faiss.index)
        if not len(self):
            return np.empty((0, self.width), np.float32)
        return faiss.rev_swig_ptr(flat.get_xb(), len(self) * self.width).reshape(len(self), self.width)

    def candidates(self, query: np.ndarray, k: int, *, allowed: np.ndarray | None = None) -> np.ndarray:
        """Ids that include the k nearest to a query (D,) among all or the `allowed` ids."""
        import faiss

        available = len(self) if allowed is None else len(allowed)
        if not available or k < 1:
            return np.empty(0, np.int64)
        parameters: Any = None
        if allowed is not None:
            refused = np.setdiff1d(self.ids, allowed, assume_unique=True)
            # The cost of a selector grows with the ids it lists.
            fewer = allowed if len(allowed) <= len(refused) else refused
            batch = faiss.IDSelectorBatch(np.ascontiguousarray(fewer, np.int64))
            selector = batch if fewer is allowed else faiss.IDSelectorNot(batch)
            parameters = faiss.SearchParameters()
            # FAISS keeps bare pointers: `batch` and `selector` must live until the search returns.
            parameters.sel = selector
        wanted = unit(np.asarray(query)[None, :])
        # Twice the largest rounding error of a float32 dot product of unit vectors.
        slack = 2 * (2 * self.width + 16) * 2.0**-24
        drawn = min(available, k + 8)
        while True:
            scores, ids = self._faiss.search(wanted, drawn, params=parameters)
            found = ids[0] >= 0  # FAISS pads with -1
            scores, ids = scores[0][found], ids[0][found]
            complete = drawn >= available or len(scores) < drawn
            if complete or scores[-1] < scores[min(k, len(scores)) - 1] - slack:
                return ids
            drawn = min(available, 2 * drawn)
