"""Exports everything stored about people."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict
from typing import Any

from sqlalchemy import Connection, Row, select

from speakers import audit, bios, identity
from speakers.export_import.lines import VERSION, packed
from speakers.records import Observation, SpeakerId
from speakers.store.codec import Vocabulary, observations, stored_embedder
from speakers.store.tables import ALIASES, CONVERSATIONS, OBSERVATIONS, SPEAKERS
from speakers.tenant import Tenant

_O = OBSERVATIONS.c


def export(
    connection: Connection, tenant: Tenant, vocabulary: Vocabulary, speakers: Sequence[Row]
) -> Iterator[dict[str, Any]]:
    """The lines about these speakers, as plain dictionaries."""
    yield {"kind": "memory", "version": VERSION, "pseudonymous": tenant.pseudonymous}
    stored = stored_embedder(connection, tenant.row)
    width = None if stored is None else stored[1].width
    if stored is not None:
        yield {"kind": "embedder", **asdict(stored[1])}
    for row in speakers:
        yield _speaker_line(connection, row)
    yield from _conversation_lines(connection, tenant, speakers)
    for row in speakers:
        yield from _observation_lines(connection, vocabulary, row, width)
        yield from _bio_lines(connection, row, width)
    ids = tuple(str(row.speaker_id) for row in speakers)
    for entry in audit.entries(connection, tenant, speakers=ids):
        yield {"kind": "audit", **asdict(entry), "detail": dict(entry.detail)}


def _speaker_line(connection: Connection, row: Row) -> dict[str, Any]:
    group = identity.merged_group(connection, row.speaker)
    names = select(ALIASES).where(ALIASES.c.speaker.in_(group)).order_by(ALIASES.c.alias)
    merged = select(SPEAKERS).where(SPEAKERS.c.speaker.in_(group[1:])).order_by(SPEAKERS.c.speaker)
    return {
        "kind": "speaker",
        "speaker_id": row.speaker_id,
        "name": row.name,
        "scope": row.scope,
        "created_at": row.created_at,
        "aliases": [
            {"scope": one.scope, "name": one.name, "match_name": one.match_name, "skeleton": one.skeleton}
            for one in connection.execute(names)
        ],
        "merged": [
            {"speaker_id": one.speaker_id, "name": one.name, "scope": one.scope}
            for one in connection.execute(merged)
        ],
    }


def _conversation_lines(
    connection: Connection, tenant: Tenant, speakers: Sequence[Row]
) -> Iterator[dict[str, Any]]:
    theirs = select(_O.conversation_id).where(_O.speaker.in_([row.speaker for row in speakers]))
    where = (CONVERSATIONS.c.tenant == tenant.row) & CONVERSATIONS.c.conversation_id.in_(theirs)
    for row in connection.execute(select(CONVERSATIONS).where(where).order_by(CONVERSATIONS.c.sequence)):
        yield {
            "kind": "conversation",
            "conversation_id": row.conversation_id,
            "sequence": row.sequence,
            "time": row.time,
        }


def _observation_lines(
    connection: Connection, vocabulary: Vocabulary, speaker: Row, width: int | None
) -> Iterator[dict[str, Any]]:
    query = select(OBSERVATIONS).where(_O.speaker == speaker.speaker)
    rows = connection.execute(query.order_by(_O.time, _O.sequence, _O.conversation_id, _O.position)).all()
    speaker_id = SpeakerId(speaker.speaker_id)
    for one in observations(connection, rows, speaker=speaker_id, vocabulary=vocabulary, width=width):
        yield _observation_line(one)


def _observation_line(one: Observation) -> dict[str, Any]:
    assert one.point is not None
    return {
        "kind": "observation",
        "speaker_id": one.speaker,
        "conversation_id": one.conversation_id,
        "utterance_id": one.utterance_id,
        "index": one.index,
        "time": one.point.time,
        "timestamp": one.timestamp,
        "text": one.text,
        "weights": dict(one.weights),
        "uncertainty": None if one.uncertainty is None else asdict(one.uncertainty),
        "label": None if one.label is None else asdict(one.label),
        "correction": one.correction,
        "model": one.model,
        "vector": packed(one.vector),
    }


def _bio_lines(connection: Connection, speaker: Row, width: int | None) -> Iterator[dict[str, Any]]:
    for bio, current in bios.versions(connection, speaker, width=width):
        passages = [
            {"text": one.text, "support": one.support, "vector": packed(one.vector)} for one in bio.passages
        ]
        line = {"kind": "bio", "speaker_id": speaker.speaker_id, **asdict(bio)}
        yield line | {"passages": passages, "current": current}
