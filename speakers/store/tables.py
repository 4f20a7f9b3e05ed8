"""The tables as queries see them. The schema itself is made by `speakers.migrations`; a test holds the two together."""

from __future__ import annotations

from sqlalchemy import BigInteger, Column, Float, LargeBinary, MetaData, Table, Text

METADATA = MetaData()


def _table(name: str, /, **columns: type) -> Table:
    return Table(name, METADATA, *(Column(column, kind) for column, kind in columns.items()))


META = _table("meta", name=Text, value=Text)
TENANTS = _table(
    "tenants", tenant=BigInteger, name=Text, next_sequence=BigInteger, clock=Float, generation=BigInteger, epoch=BigInteger,
    keeps_text=BigInteger, pseudonymous=BigInteger, retention_days=Float,
)  # fmt: skip
SPEAKERS = _table(
    "speakers", speaker=BigInteger, tenant=BigInteger, speaker_id=Text, name=Text, scope=Text, created_at=Float, merged_into=BigInteger,
    basis=BigInteger,
)  # fmt: skip
ALIASES = _table(
    "aliases",
    alias=BigInteger,
    tenant=BigInteger,
    speaker=BigInteger,
    scope=Text,
    match_name=Text,
    skeleton=Text,
    name=Text,
)
AUDIT = _table(
    "audit",
    audit=BigInteger,
    tenant=BigInteger,
    at=Float,
    action=Text,
    speaker_id=Text,
    other_id=Text,
    detail=Text,
    undone_by=BigInteger,
)
EMBEDDERS = _table(
    "embedders", embedder=BigInteger, tenant=BigInteger, name=Text, revision=Text, width=BigInteger
)
LABEL_SETS = _table("label_sets", label_set=BigInteger, tenant=BigInteger, labels=Text)
CONVERSATIONS = _table(
    "conversations", tenant=BigInteger, conversation_id=Text, sequence=BigInteger, time=Float
)
OBSERVATIONS = _table(
    "observations", observation=BigInteger, tenant=BigInteger, speaker=BigInteger, conversation_id=Text, utterance_id=Text, position=BigInteger,
    sequence=BigInteger, time=Float, timestamp=Float, text=Text, label_set=BigInteger, weights=LargeBinary, total=Float, aleatoric=Float,
    epistemic=Float, emotion=Text, confidence=Float, correction=Text, model=Text, embedder=BigInteger, vector=LargeBinary,
)  # fmt: skip
MOVES = _table("moves", audit=BigInteger, observation=BigInteger, previous=BigInteger)
BIOS = _table(
    "bios", bio=BigInteger, tenant=BigInteger, speaker=BigInteger, version=BigInteger, time=Float, sequence=BigInteger, conversation_id=Text,
    position=BigInteger, writer=Text, basis=BigInteger, utterances=BigInteger, conversations=BigInteger,
)  # fmt: skip
PASSAGES = _table(
    "passages",
    passage=BigInteger,
    bio=BigInteger,
    position=BigInteger,
    text=Text,
    support=BigInteger,
    embedder=BigInteger,
    vector=LargeBinary,
)
TOMBSTONES = _table("tombstones", tenant=BigInteger, digest=Text, at=Float)
ERASURES = _table("erasures", erasure=BigInteger, tenant=BigInteger, speakers=Text, at=Float)
