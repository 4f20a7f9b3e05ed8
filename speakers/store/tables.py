"""The schema of the store: tables, keys and indexes, for SQLite and PostgreSQL.

This is the only place where the schema is written. `speakers.store.migrations` creates new stores from it.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import (
    BigInteger,
    Column,
    Double,
    ForeignKey,
    ForeignKeyConstraint,
    Identity,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    Table,
    Text,
    UniqueConstraint,
)
from sqlalchemy.types import REAL

METADATA = MetaData()

_INTEGER = BigInteger().with_variant(Integer(), "sqlite")
_FLOAT: Double[float] = Double().with_variant(REAL(), "sqlite")
_TEXT = Text()
_BYTES = LargeBinary()
# Text that is sorted or is part of a key. Both engines and Python compare it by code point.
_KEY = Text().with_variant(Text(collation="C"), "postgresql")


def _id(name: str) -> Column[int]:
    """A generated row number. SQLite never reuses a number (AUTOINCREMENT)."""
    return Column(name, _INTEGER, Identity(), primary_key=True)


def _required(name: str, kind: Any, *constraints: Any, **options: Any) -> Column[Any]:
    return Column(name, kind, *constraints, nullable=False, **options)


def _tenant(**options: Any) -> Column[int]:
    return _required("tenant", _INTEGER, ForeignKey("tenants.tenant"), **options)


def _speaker() -> Column[int]:
    return _required("speaker", _INTEGER, ForeignKey("speakers.speaker"))


def _table(name: str, *parts: Any) -> Table:
    return Table(name, METADATA, *parts, sqlite_autoincrement=True)


META = _table("meta", Column("name", _KEY, primary_key=True), _required("value", _TEXT))
"""Facts about the store itself: the schema version and the secret key."""

TENANTS = _table(
    "tenants",
    _id("tenant"),
    _required("name", _KEY, unique=True),
    _required("next_sequence", _INTEGER),
    _required("clock", _FLOAT),
    _required("generation", _INTEGER),
    _required("epoch", _INTEGER),
    _required("keeps_text", _INTEGER),
    _required("pseudonymous", _INTEGER),
    Column("retention_days", _FLOAT),
)
"""Owners of separate memories, with their policy and counters.

`next_sequence` numbers conversations. `clock` is the latest recording time in UTC seconds. `generation`
counts transactions that added or removed rows, `epoch` those that removed rows.
"""

SPEAKERS = _table(
    "speakers",
    _id("speaker"),
    _tenant(),
    _required("speaker_id", _KEY),
    Column("name", _TEXT),
    _required("scope", _KEY),
    _required("created_at", _FLOAT),
    Column("merged_into", _INTEGER, ForeignKey("speakers.speaker")),
    _required("basis", _INTEGER),
    UniqueConstraint("tenant", "speaker_id"),
    Index("speakers_by_target", "merged_into"),
)
"""People. `basis` is the last merge or split that changed their turns; bios store it as well."""

ALIASES = _table(
    "aliases",
    _id("alias"),
    _tenant(),
    _speaker(),
    _required("scope", _KEY),
    _required("match_name", _KEY),
    _required("skeleton", _KEY),
    Column("name", _TEXT),
    UniqueConstraint("tenant", "scope", "match_name"),
    Index("aliases_by_speaker", "speaker"),
    Index("aliases_by_skeleton", "tenant", "skeleton"),
)
"""Names that resolve to a speaker. `scope` is a conversation id, or empty for a name known everywhere."""

AUDIT = _table(
    "audit",
    _id("audit"),
    _tenant(),
    _required("at", _FLOAT),
    _required("action", _KEY),
    Column("speaker_id", _KEY),
    Column("other_id", _KEY),
    _required("detail", _TEXT),
    Column("undone_by", _INTEGER),
    Index("audit_by_speaker", "tenant", "speaker_id"),
    Index("audit_by_other", "tenant", "other_id"),
)
"""The log of identity changes. `detail` is JSON."""

EMBEDDERS = _table(
    "embedders",
    _id("embedder"),
    _tenant(unique=True),
    _required("name", _TEXT),
    _required("revision", _TEXT),
    _required("width", _INTEGER),
)
"""The model that made the vectors, one for each tenant."""

LABEL_SETS = _table(
    "label_sets",
    _id("label_set"),
    _tenant(),
    _required("labels", _KEY),
    UniqueConstraint("tenant", "labels"),
)
"""Label names in the order of an observation's weights, as a JSON list."""

CONVERSATIONS = _table(
    "conversations",
    _tenant(primary_key=True),
    Column("conversation_id", _KEY, primary_key=True),
    _required("sequence", _INTEGER),
    _required("time", _FLOAT),
    UniqueConstraint("tenant", "sequence"),
)
"""Recorded conversations: their number in order of first ingestion, and its time in UTC seconds."""

OBSERVATIONS = _table(
    "observations",
    _id("observation"),
    _required("tenant", _INTEGER),
    _speaker(),
    _required("conversation_id", _KEY),
    _required("utterance_id", _KEY),
    _required("position", _INTEGER),
    _required("sequence", _INTEGER),
    _required("time", _FLOAT),
    Column("timestamp", _FLOAT),
    Column("text", _TEXT),
    Column("label_set", _INTEGER, ForeignKey("label_sets.label_set")),
    Column("weights", _BYTES),
    Column("total", _FLOAT),
    Column("aleatoric", _FLOAT),
    Column("epistemic", _FLOAT),
    Column("emotion", _TEXT),
    Column("confidence", _FLOAT),
    Column("correction", _TEXT),
    Column("model", _TEXT),
    Column("embedder", _INTEGER, ForeignKey("embedders.embedder")),
    Column("vector", _BYTES),
    UniqueConstraint("tenant", "conversation_id", "utterance_id"),
    ForeignKeyConstraint(
        ["tenant", "conversation_id"], ["conversations.tenant", "conversations.conversation_id"]
    ),
    Index("observations_in_order", "speaker", "time", "sequence", "conversation_id", "position"),
)
"""Turns: fields of `speakers.records.Observation`. `weights` and `vector` are little-endian floats."""

MOVES = _table(
    "moves",
    Column("audit", _INTEGER, ForeignKey("audit.audit"), primary_key=True),
    Column("observation", _INTEGER, ForeignKey("observations.observation"), primary_key=True),
    _required("previous", _INTEGER),
    Index("moves_by_observation", "observation"),
)
"""Turns that a merge or split gave to another speaker, so that it can be undone."""

BIOS = _table(
    "bios",
    _id("bio"),
    _tenant(),
    _speaker(),
    _required("version", _INTEGER),
    _required("time", _FLOAT),
    _required("sequence", _INTEGER),
    _required("conversation_id", _KEY),
    _required("position", _INTEGER),
    _required("writer", _TEXT),
    _required("basis", _INTEGER),
    _required("utterances", _INTEGER),
    _required("conversations", _INTEGER),
    UniqueConstraint("speaker", "version"),
)
"""Versions of bios, each with the point before which it was written."""

PASSAGES = _table(
    "passages",
    _id("passage"),
    _required("bio", _INTEGER, ForeignKey("bios.bio")),
    _required("position", _INTEGER),
    _required("text", _TEXT),
    _required("support", _INTEGER),
    Column("embedder", _INTEGER, ForeignKey("embedders.embedder")),
    Column("vector", _BYTES),
    UniqueConstraint("bio", "position"),
)
"""Sentences of bios."""

TOMBSTONES = _table(
    "tombstones",
    _tenant(primary_key=True),
    Column("digest", _KEY, primary_key=True),
    _required("at", _FLOAT),
)
"""Keyed digests of forgotten ids and names."""

ERASURES = _table(
    "erasures",
    _id("erasure"),
    _tenant(),
    _required("speakers", _TEXT),
    _required("at", _FLOAT),
)
"""Erasures that have begun and are not finished. `speakers` is a JSON list of row numbers."""
