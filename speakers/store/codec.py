"""Converts records to rows and back. Weights and vectors are stored as little-endian bytes."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from sqlalchemy import Connection, Row, bindparam, select

from speakers.errors import EmbedderMismatchError, InvalidRecordError
from speakers.records import ConversationLabel, Embedder, Observation, Point, SpeakerId, StoredUncertainty
from speakers.store.tables import EMBEDDERS, LABEL_SETS


def vector_bytes(vector: np.ndarray, width: int) -> bytes:
    """The bytes of a vector of shape (width,): float16 if it is float16, else float32.

    The length shows which format it is.

    Raises:
        EmbedderMismatchError: the vector has another shape.
        InvalidRecordError: a number is not finite in the stored precision.
    """
    if vector.shape != (width,):
        raise EmbedderMismatchError(f"a vector of shape {vector.shape}; the embedder makes ({width},)")
    kept = np.asarray(vector, dtype="<f2" if vector.dtype == np.float16 else "<f4")
    if kept.dtype != vector.dtype and not np.isfinite(kept).all():
        raise InvalidRecordError("a vector has a number that is not finite in its stored precision")
    return kept.tobytes()


def vector_array(raw: bytes, width: int) -> np.ndarray:
    """A stored vector, shape (width,), read-only."""
    return np.frombuffer(raw, dtype="<f2" if len(raw) == 2 * width else "<f4")


def vector_matrix(raws: Sequence[bytes], width: int) -> np.ndarray:
    """Stored vectors of either precision as float32, shape (len(raws), width)."""
    if raws and all(len(raw) == 4 * width for raw in raws):
        return np.frombuffer(b"".join(raws), dtype="<f4").reshape(len(raws), width)
    matrix = np.empty((len(raws), width), dtype=np.float32)
    for position, raw in enumerate(raws):
        matrix[position] = vector_array(raw, width)
    return matrix


class Vocabulary:
    """Caches what a tenant's rows share: label sets and the embedder.

    These rows are never changed or deleted, so each is read once per process. Label names come from a model
    and say nothing about a person.
    """

    def __init__(self, tenant: int) -> None:
        self._tenant = tenant
        self._labels: dict[int, tuple[str, ...]] = {}
        self._rows: dict[tuple[str, ...], int] = {}
        self._embedder: tuple[int, Embedder] | None = None

    def encode(self, connection: Connection, weights: Mapping[str, float]) -> tuple[int | None, bytes | None]:
        """The number of the label set and the weights in its order, as float32. Stores a new label set."""
        if not weights:
            return None, None
        labels = tuple(weights)
        row = self._rows.get(labels)
        if row is None:
            row = self._intern(connection, labels)
        return row, np.fromiter(weights.values(), dtype="<f4", count=len(labels)).tobytes()

    def labels(self, connection: Connection, row: int) -> tuple[str, ...]:
        """The labels of a set, in the order of the weights."""
        if row not in self._labels:
            raw = connection.execute(
                select(LABEL_SETS.c.labels).where(LABEL_SETS.c.label_set == row)
            ).scalar_one()
            self._labels[row] = tuple(json.loads(raw))
        return self._labels[row]

    def decode(self, connection: Connection, row: int | None, raw: bytes | None) -> dict[str, float]:
        """The weights by label."""
        if row is None or raw is None:
            return {}
        return dict(zip(self.labels(connection, row), np.frombuffer(raw, dtype="<f4").tolist(), strict=True))

    def settle(self, connection: Connection, offered: Embedder | None) -> int | None:
        """As `settle_embedder`, cached.

        Raises:
            EmbedderMismatchError: the tenant stores vectors of another embedder.
        """
        if self._embedder is None or self._embedder[1] != offered:
            row = settle_embedder(connection, self._tenant, offered)
            if row is None or offered is None:
                return None
            self._embedder = (row, offered)
        return self._embedder[0]

    def forget_uncommitted(self) -> None:
        """Drop the cache after a rollback, because it may hold rows that were not committed."""
        self._embedder = None
        self._rows.clear()
        self._labels.clear()

    def _intern(self, connection: Connection, labels: tuple[str, ...]) -> int:
        text = json.dumps(labels, ensure_ascii=False)
        where = (LABEL_SETS.c.tenant == self._tenant) & (LABEL_SETS.c.labels == text)
        row = connection.execute(select(LABEL_SETS.c.label_set).where(where)).scalar_one_or_none()
        if row is None:
            insert = (
                LABEL_SETS.insert().values(tenant=self._tenant, labels=text).returning(LABEL_SETS.c.label_set)
            )
            row = connection.execute(insert).scalar_one()
        self._rows[labels] = row
        return row


_EMBEDDER = select(EMBEDDERS).where(EMBEDDERS.c.tenant == bindparam("of_tenant"))


def stored_embedder(connection: Connection, tenant: int) -> tuple[int, Embedder] | None:
    """The row number and embedder of the tenant's vectors; None before the first vector."""
    row = connection.execute(_EMBEDDER, {"of_tenant": tenant}).one_or_none()
    return None if row is None else (row.embedder, Embedder(row.name, row.revision, row.width))


def settle_embedder(connection: Connection, tenant: int, offered: Embedder | None) -> int | None:
    """The row number of the offered embedder; stores it if it is the tenant's first. None for None.

    Raises:
        EmbedderMismatchError: the tenant stores vectors of another embedder.
    """
    if offered is None:
        return None
    stored = stored_embedder(connection, tenant)
    if stored is None:
        values = {
            "tenant": tenant,
            "name": offered.name,
            "revision": offered.revision,
            "width": offered.width,
        }
        return connection.execute(
            EMBEDDERS.insert().values(**values).returning(EMBEDDERS.c.embedder)
        ).scalar_one()
    if stored[1] != offered:
        raise EmbedderMismatchError(
            f"this memory stores vectors of {_named(stored[1])}, not of {_named(offered)}; use that "
            "embedder, or another store or tenant"
        )
    return stored[0]


def _named(embedder: Embedder) -> str:
    return f"{embedder.name}@{embedder.revision} (width {embedder.width})"


def observation_values(observation: Observation, *, keeps_text: bool, width: int | None) -> dict[str, Any]:
    """The columns that an observation fills itself. The caller adds the foreign keys and the place in order.

    Raises:
        EmbedderMismatchError: there is a vector without an embedder, or of another width.
        InvalidRecordError: the vector is not finite in its stored precision.
    """
    if observation.vector is not None and width is None:
        raise EmbedderMismatchError(
            f"utterance {observation.utterance_id!r} has a vector; name its embedder: "
            "record(..., embedder=Embedder(...))"
        )
    uncertainty, label = observation.uncertainty, observation.label
    return {
        "conversation_id": observation.conversation_id,
        "utterance_id": observation.utterance_id,
        "position": observation.index,
        "timestamp": observation.timestamp,
        "text": observation.text if keeps_text else None,
        "total": None if uncertainty is None else uncertainty.total,
        "aleatoric": None if uncertainty is None else uncertainty.aleatoric,
        "epistemic": None if uncertainty is None else uncertainty.epistemic,
        "emotion": None if label is None else label.emotion,
        "confidence": None if label is None else label.confidence,
        "correction": observation.correction,
        "model": observation.model,
        "vector": None
        if observation.vector is None or width is None
        else vector_bytes(observation.vector, width),
    }


def _finite(*numbers: float | None) -> bool:
    """Whether the numbers are stored and finite. An earlier version accepted others."""
    return all(number is not None and math.isfinite(number) for number in numbers)


def observations(
    connection: Connection,
    rows: Iterable[Row],
    *,
    speaker: SpeakerId | None,
    vocabulary: Vocabulary,
    width: int | None,
) -> tuple[Observation, ...]:
    """The observations of rows. With `speaker=None` the rows need a column `speaker_id`."""
    return tuple(
        Observation(
            speaker=speaker or SpeakerId(row.speaker_id),
            conversation_id=row.conversation_id,
            utterance_id=row.utterance_id,
            index=row.position,
            text=row.text,
            timestamp=row.timestamp,
            weights=vocabulary.decode(connection, row.label_set, row.weights),
            uncertainty=StoredUncertainty(row.total, row.aleatoric, row.epistemic)
            if _finite(row.total, row.aleatoric, row.epistemic)
            else None,
            label=ConversationLabel(row.emotion, row.confidence)
            if row.emotion is not None and _finite(row.confidence)
            else None,
            correction=row.correction,
            model=row.model,
            vector=None if row.vector is None or width is None else vector_array(row.vector, width),
            point=Point(row.time, row.sequence, row.conversation_id, row.position),
        )
        for row in rows
    )
