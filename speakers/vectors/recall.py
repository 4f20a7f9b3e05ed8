"""Searches the past by vector: of one speaker, or of all speakers of a tenant."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Sequence

import numpy as np
from sqlalchemy import Connection, Row, bindparam, func, select

from speakers import bios
from speakers.errors import EmbedderMismatchError
from speakers.history import PAST, past
from speakers.records import Hit, PassageHit, Point, Recall, SpeakerId
from speakers.store import Store
from speakers.store.bulk import in_chunks
from speakers.store.codec import Vocabulary, observations, stored_embedder, vector_matrix
from speakers.store.tables import CONVERSATIONS, OBSERVATIONS, SPEAKERS, TENANTS
from speakers.tenant import Tenant
from speakers.vectors import index_file
from speakers.vectors.index import VectorIndex, best, exact_cosine, unit

_O = OBSERVATIONS.c

GATHER_LIMIT = 4_096
"""A past of up to this many turns is scanned row by row; a longer one is searched with the index."""

_IDS = select(_O.observation).where(PAST)
_PROBE = _IDS.limit(GATHER_LIMIT + 1)
_GATHER = select(_O.observation, _O.vector).where(PAST, _O.vector.is_not(None))
_CHOSEN = select(OBSERVATIONS, SPEAKERS.c.speaker_id).join(SPEAKERS, SPEAKERS.c.speaker == _O.speaker)
_CHOSEN = _CHOSEN.where(_O.observation.in_(bindparam("ids", expanding=True)))

_PAGE = 20_000


class VectorSearch:
    """Searches the vectors of one tenant and keeps their index up to date with the rows."""

    def __init__(self, store: Store, tenant: Tenant, vocabulary: Vocabulary) -> None:
        self._store = store
        self._tenant = tenant
        self._vocabulary = vocabulary
        # The sum keeps the query planner from scanning the tenant's index where row numbers are given.
        self._of_tenant = (_O.tenant + 0) == tenant.row
        self._index: VectorIndex | None = None
        self._cached = 0
        self._lock = threading.RLock()

    def recall(
        self, connection: Connection, vector: np.ndarray, *, speaker: Row | None, before: Point, k: int
    ) -> Recall:
        """The k nearest observations strictly before a point; with a speaker, also k passages of their bio.

        Raises:
            EmbedderMismatchError: the query has another shape than the stored vectors, or is not finite.
        """
        stored = stored_embedder(connection, self._tenant.row)
        if stored is None or k < 1:
            return Recall()
        width = stored[1].width
        query = np.asarray(vector)
        if query.shape != (width,) or not np.isfinite(query).all():
            raise EmbedderMismatchError(
                f"a query of shape {query.shape}; this memory stores finite vectors of {stored[1].name} with "
                f"shape ({width},)"
            )
        if speaker is None:
            proposed = self._across(connection, query, before, k, width)
            return Recall(self._rank(connection, query, proposed, k, width))
        ids, raws = self._within(connection, query, speaker.speaker, before, k, width)
        matrix = vector_matrix(raws, width)
        scores = exact_cosine(matrix, query)
        chosen = best(ids, scores, k)
        hits = self._hits(connection, ids[chosen], scores[chosen], width, SpeakerId(speaker.speaker_id))
        return Recall(hits, _passages(connection, speaker, before, query, k, width))

    def rebuild(self, connection: Connection) -> int:
        """Build the index again from the rows; returns its number of vectors."""
        with self._lock:
            self._index = None
            stored = stored_embedder(connection, self._tenant.row)
            if stored is None:
                return 0
            return len(self._current(connection, stored[1].width, use_file=False))

    def save(self) -> None:
        """Cache the index next to a SQLite database, unless rows were erased since it was built."""
        path = self._store.path
        with self._lock:
            index = self._index
            if index is None or path is None:
                return
            target = index_file.path_of(path, self._tenant.row)
            draft = index_file.write_draft(
                target, index, self._tenant.secret, permissions=path.stat().st_mode & 0o666
            )
            try:
                # An earlier erasure has raised the epoch; a later one will remove the file.
                with self._store.write() as connection:
                    if self._state(connection)[1] == index.epoch:
                        with contextlib.suppress(FileNotFoundError):  # an erasure removed it
                            draft.replace(target)
                            self._cached = len(index)
            finally:
                draft.unlink(missing_ok=True)

    def save_if_grown(self) -> None:
        """Cache the index if it has grown by more than a tenth since it was read or cached."""
        if self._index is not None and len(self._index) > 1.1 * self._cached:
            self.save()

    def drop(self, ids: Sequence[int], *, epoch_before: int, epoch_after: int) -> None:
        """Remove erased rows from the index in memory; an index of another epoch is dropped."""
        with self._lock:
            if self._index is None:
                return
            if self._index.epoch != epoch_before:
                self._index = None
                return
            self._index.remove(np.asarray(ids, np.int64))
            self._index.epoch = epoch_after
            self._cached = 0

    def _state(self, connection: Connection) -> tuple[int, int]:
        row = connection.execute(
            select(TENANTS.c.generation, TENANTS.c.epoch).where(TENANTS.c.tenant == self._tenant.row)
        ).one()
        return row.generation, row.epoch

    def _current(self, connection: Connection, width: int, *, use_file: bool = True) -> VectorIndex:
        """The index with every row of this snapshot: updated, read from its file, or built.

        Another thread may have updated it further, so it may also have rows newer than the snapshot.
        """
        generation, epoch = self._state(connection)
        index = self._index
        if index is None and use_file and self._store.path is not None:
            index = index_file.read(
                index_file.path_of(self._store.path, self._tenant.row), self._tenant.secret, width=width
            )
            self._cached = 0 if index is None else len(index)
        if index is None or index.epoch != epoch or index.width != width:
            index = VectorIndex(width, -1, epoch)
            self._cached = 0
        if index.generation < generation:
            self._update(connection, index)
            index.generation = generation
        self._index = index
        return index

    def _update(self, connection: Connection, index: VectorIndex) -> None:
        columns = select(_O.observation, _O.vector, _O.time, _O.sequence, _O.position).where(
            self._of_tenant, _O.vector.is_not(None)
        )
        last = int(index.ids[-1]) if len(index) else -1
        while True:
            rows = connection.execute(
                columns.where(_O.observation > last).order_by(_O.observation).limit(_PAGE)
            ).all()
            if not rows:
                return
            ids, raws, times, sequences, positions = zip(*rows, strict=True)
            index.add(
                ids=np.array(ids, np.int64),
                vectors=unit(vector_matrix(raws, index.width)),
                times=np.array(times, np.float64),
                sequences=np.array(sequences, np.int64),
                positions=np.array(positions, np.int64),
            )
            last = ids[-1]

    def _within(
        self, connection: Connection, query: np.ndarray, speaker: int, before: Point, k: int, width: int
    ) -> tuple[np.ndarray, Sequence[bytes]]:
        """Ids and vectors that include the speaker's k nearest: all of a short past, else candidates."""
        parameters = past(speaker, before)
        if len(connection.execute(_PROBE, parameters).all()) <= GATHER_LIMIT:
            return _split(connection.execute(_GATHER, parameters).all())
        with self._lock:
            index = self._current(connection, width)
            ids = np.array(connection.execute(_IDS, parameters).scalars().all(), np.int64)
            proposed = index.candidates(query, k, allowed=ids[np.isin(ids, index.ids)])
        return self._vectors(connection, proposed)

    def _across(
        self, connection: Connection, query: np.ndarray, before: Point, k: int, width: int
    ) -> np.ndarray:
        """Ids that include the k nearest of all speakers before a point."""
        with self._lock:
            index = self._current(connection, width)
            earlier = self._earlier(connection, index, before)
            if index.generation > self._state(connection)[0]:  # it has rows newer than this snapshot
                query_newest = select(func.max(_O.observation)).where(_O.tenant == self._tenant.row)
                newest = connection.execute(query_newest).scalar()
                earlier &= index.ids <= (-1 if newest is None else newest)
            return index.candidates(query, k, allowed=None if earlier.all() else index.ids[earlier])

    def _earlier(self, connection: Connection, index: VectorIndex, before: Point) -> np.ndarray:
        """Which rows of the index are strictly before the point, shape (N,)."""
        same_time = index.times == before.time
        earlier = (index.times < before.time) | (same_time & (index.sequences < before.sequence))
        same_place = same_time & (index.sequences == before.sequence)
        if same_place.any():  # the point may name another conversation than the one of that sequence
            where = (CONVERSATIONS.c.tenant == self._tenant.row) & (
                CONVERSATIONS.c.sequence == before.sequence
            )
            stored = connection.execute(select(CONVERSATIONS.c.conversation_id).where(where)).scalar_one()
            if stored == before.conversation_id:
                same_place &= index.positions < before.index
            elif stored > before.conversation_id:
                same_place[:] = False
            earlier |= same_place
        return earlier

    def _rank(
        self, connection: Connection, query: np.ndarray, proposed: np.ndarray, k: int, width: int
    ) -> tuple[Hit, ...]:
        ids, raws = self._vectors(connection, proposed)
        scores = exact_cosine(vector_matrix(raws, width), query)
        chosen = best(ids, scores, k)
        return self._hits(connection, ids[chosen], scores[chosen], width, None)

    def _vectors(self, connection: Connection, ids: np.ndarray) -> tuple[np.ndarray, Sequence[bytes]]:
        rows: list[Row] = []
        for wanted in in_chunks(ids.tolist()):
            rows += connection.execute(
                select(_O.observation, _O.vector).where(_O.observation.in_(wanted), self._of_tenant)
            ).all()
        return _split(rows)

    def _hits(
        self,
        connection: Connection,
        ids: np.ndarray,
        scores: np.ndarray,
        width: int,
        speaker: SpeakerId | None,
    ) -> tuple[Hit, ...]:
        found: dict[int, Row] = {}
        for wanted in in_chunks(ids.tolist()):
            rows = connection.execute(_CHOSEN, {"ids": wanted}).all()
            found |= {row.observation: row for row in rows}
        ordered = observations(
            connection,
            (found[row] for row in ids.tolist()),
            speaker=speaker,
            vocabulary=self._vocabulary,
            width=width,
        )
        return tuple(Hit(one, score) for one, score in zip(ordered, scores.tolist(), strict=True))


def _split(rows: Sequence[Row]) -> tuple[np.ndarray, Sequence[bytes]]:
    return np.array([row[0] for row in rows], np.int64), [row[1] for row in rows]


def _passages(
    connection: Connection, speaker: Row, before: Point, query: np.ndarray, k: int, width: int
) -> tuple[PassageHit, ...]:
    bio = bios.current(connection, speaker, before=before, width=width)
    if bio is None:
        return ()
    kept = [one for one in bio.passages if one.vector is not None]
    if not kept:
        return ()
    scores = exact_cosine(np.stack([one.vector for one in kept if one.vector is not None]), query)
    chosen = best(np.arange(len(kept)), scores, k)
    return tuple(PassageHit(kept[one], bio.version, float(scores[one])) for one in chosen.tolist())
