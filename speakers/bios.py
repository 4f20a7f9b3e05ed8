"""Bios: versioned passages about a speaker, written from the past of one point only."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from sqlalchemy import ColumnElement, Connection, Row, bindparam, exists, func, select, tuple_

from speakers.errors import InvalidRecordError
from speakers.records import Bio, Embedder, Observation, Passage, Point
from speakers.store.codec import settle_embedder, vector_array, vector_bytes
from speakers.store.tables import BIOS, PASSAGES, SPEAKERS
from speakers.tenant import Tenant

Embed = Callable[[Sequence[str]], np.ndarray]
"""Texts to vectors, shape (len(texts), width): what `encode` of a sentence encoder does."""

MOST_TURNS = 5_000
"""A bio is written from at most this many last turns."""

_WORD = re.compile(r"[^\W\d_][^\W\d_'’]{2,}")
_COMMON_TEXT = (
    "about after again all also always and any anything are back because been before being but came can cannot come could day did didn does "
    "doesn doing don done down each else even ever every everything for from get gets getting give goes going gone gonna good got gotta "
    "great guess had has hasn have haven having hello her here hers hey him his how huh into isn its just kind know knows later let like "
    "little long look looks lot made make makes many may maybe mean might more most much must need needs never new nice nobody not nothing "
    "now off okay old once one only oops other our out over please put quite really right said same saw say says see seem seems she should "
    "shouldn since some somebody someone something soon sorry sort still such sure take tell than thank thanks that the their them then "
    "there these they thing things think this those thought through time today told tomorrow tonight too took two until upon use used very "
    "wait wanna want wanted wants was wasn way week well went were weren what when where which while who whole why will with without won "
    "would wouldn wow yeah year yep yes yesterday yet you your yours"
)
_COMMON = frozenset(_COMMON_TEXT.split())


@dataclass(frozen=True, slots=True)
class BioWriter:
    """A way to write a bio: its name, kept as provenance, and the function from past turns (oldest first) to passages."""

    name: str
    write: Callable[[Sequence[Observation]], Sequence[Passage]]


def top_label(observation: Observation) -> str | None:
    """The label with the largest weight, a person's correction first; the earlier in the alphabet of two equals."""
    if observation.correction is not None:
        return observation.correction
    return min(observation.weights, key=lambda label: (-observation.weights[label], label), default=None)


def write_from_history(turns: Sequence[Observation]) -> tuple[Passage, ...]:
    """What they talk about, how they usually feel and what moves them, with counts. Equal histories give equal bios."""
    words = [_content_words(turn.text) for turn in turns]
    labels = [top_label(turn) for turn in turns]
    return (*_topics(words), *_moods(labels), *_triggers(words, labels))


DETERMINISTIC = BioWriter("history/1", write_from_history)


def _content_words(text: str | None) -> frozenset[str]:
    found = (
        word.strip("'’").partition("'")[0].partition("’")[0]
        for word in _WORD.findall((text or "").casefold())
    )
    return frozenset(word for word in found if len(word) > 2 and word not in _COMMON)


def _ranked(counts: Counter[str]) -> list[tuple[str, int]]:
    return sorted(counts.items(), key=lambda pair: (-pair[1], pair[0]))


def _turns(count: int) -> str:
    return f"{count} turn" if count == 1 else f"{count} turns"


def _topics(words: Sequence[frozenset[str]]) -> list[Passage]:
    counts = Counter(word for turn in words for word in turn)
    top = [(word, count) for word, count in _ranked(counts)[:5] if count >= 2]
    if not top:
        return []
    support = sum(bool(turn & {word for word, _ in top}) for turn in words)
    return [
        Passage(
            f"Often talks about {', '.join(f'{word} ({_turns(count)})' for word, count in top)}.", support
        )
    ]


def _moods(labels: Sequence[str | None]) -> list[Passage]:
    known = Counter(label for label in labels if label is not None)
    if not known:
        return []
    shown = ", ".join(f"{label} ({count})" for label, count in _ranked(known)[:3])
    return [Passage(f"Over {_turns(known.total())}, mostly {shown}.", known.total())]


def _triggers(words: Sequence[frozenset[str]], labels: Sequence[str | None]) -> list[Passage]:
    """Words that come with one emotion more than half of the time and more often than that emotion does altogether."""
    said = Counter(
        word for turn, label in zip(words, labels, strict=True) if label is not None for word in turn
    )
    felt = Counter(label for label in labels if label is not None)
    pairs = Counter(
        (word, label)
        for turn, label in zip(words, labels, strict=True)
        if label not in (None, "neutral")
        for word in turn
    )
    telling = [
        (count, word, str(label))
        for (word, label), count in pairs.items()
        if count >= 2 and 2 * count > said[word] and count * felt.total() > felt[str(label)] * said[word]
    ]
    best = sorted(telling, key=lambda one: (-one[0], one[1], one[2]))[:3]
    return [
        Passage(f"Speaking of {word}, shows {label} ({count} of {_turns(said[word])}).", count)
        for count, word, label in best
    ]


def store(
    connection: Connection,
    tenant: Tenant,
    speaker: Row,
    *,
    before: Point,
    turns: Sequence[Observation],
    writer: BioWriter,
    passages: Sequence[Passage],
    embedder: Embedder | None,
) -> Bio:
    """Keep a bio as the speaker's next version, inside a write transaction."""
    version = 1 + (
        connection.execute(select(func.max(BIOS.c.version)).where(BIOS.c.speaker == speaker.speaker)).scalar()
        or 0
    )
    conversations = len({turn.conversation_id for turn in turns})
    values = {
        "tenant": tenant.row, "speaker": speaker.speaker, "version": version, "time": before.time, "sequence": before.sequence,
        "conversation_id": before.conversation_id, "position": before.index, "writer": writer.name, "basis": speaker.basis,
        "utterances": len(turns), "conversations": conversations,
    }  # fmt: skip
    row = connection.execute(BIOS.insert().values(**values).returning(BIOS.c.bio)).scalar_one()
    store_passages(connection, tenant, row, passages, embedder)
    return Bio(version, writer.name, before, len(turns), conversations, tuple(passages))


def store_passages(
    connection: Connection, tenant: Tenant, bio: int, passages: Sequence[Passage], embedder: Embedder | None
) -> None:
    """Keep the passages of a bio, with vectors where they have them."""
    maker = settle_embedder(
        connection, tenant.row, embedder if any(passage.vector is not None for passage in passages) else None
    )
    rows = [
        {
            "bio": bio, "position": position, "text": passage.text, "support": passage.support,
            "embedder": None if passage.vector is None else maker,
            "vector": None if passage.vector is None or embedder is None else vector_bytes(passage.vector, embedder.width),
        }
        for position, passage in enumerate(passages)
    ]  # fmt: skip
    if rows:
        connection.execute(PASSAGES.insert(), rows)


def embedded(passages: Sequence[Passage], embed: Embed | None) -> tuple[Passage, ...]:
    """The passages with the vectors a callable makes of their texts."""
    if embed is None or not passages:
        return tuple(passages)
    vectors = np.asarray(embed([passage.text for passage in passages]))
    if vectors.ndim != 2 or len(vectors) != len(passages) or not np.isfinite(vectors).all():
        raise InvalidRecordError(
            f"the embedder gave shape {vectors.shape} for {len(passages)} passages; one row of finite numbers each is needed"
        )
    return tuple(replace(passage, vector=vector) for passage, vector in zip(passages, vectors, strict=True))


_POINT = (BIOS.c.time, BIOS.c.sequence, BIOS.c.conversation_id, BIOS.c.position)
_CURRENT = (
    select(BIOS)
    .where(BIOS.c.speaker == bindparam("of"), BIOS.c.basis == bindparam("basis_now"))
    .where(tuple_(*_POINT) <= tuple_(*(bindparam(column.name, type_=column.type) for column in _POINT)))
    .order_by(BIOS.c.version.desc())
    .limit(1)
)


def current(connection: Connection, speaker: Row, *, before: Point, width: int | None) -> Bio | None:
    """The latest bio that was written from nothing at or after `before` and that still describes this speaker's turns."""
    bounds = {
        "time": before.time,
        "sequence": before.sequence,
        "conversation_id": before.conversation_id,
        "position": before.index,
    }
    row = connection.execute(
        _CURRENT, bounds | {"of": speaker.speaker, "basis_now": speaker.basis}
    ).one_or_none()
    return None if row is None else _bio(connection, row, width)


def versions(connection: Connection, speaker: Row, *, width: int | None) -> tuple[tuple[Bio, bool], ...]:
    """All versions, oldest first, each with whether it still describes the speaker's turns."""
    rows = connection.execute(
        select(BIOS).where(BIOS.c.speaker == speaker.speaker).order_by(BIOS.c.version)
    ).all()
    return tuple((_bio(connection, row, width), row.basis == speaker.basis) for row in rows)


def resting(tenant: Tenant, speakers: Sequence[str]) -> ColumnElement[bool]:
    """The predicate "a bio of these ids that does not describe the turns they have": it may hold words that are another's by now.

    So may any bio of a speaker who was merged into another: turns of theirs may have gone on from there.
    """
    theirs = select(SPEAKERS.c.speaker).where(
        SPEAKERS.c.tenant == tenant.row, SPEAKERS.c.speaker_id.in_(speakers)
    )
    describes = exists().where(
        SPEAKERS.c.speaker == BIOS.c.speaker,
        SPEAKERS.c.basis == BIOS.c.basis,
        SPEAKERS.c.merged_into.is_(None),
    )
    return BIOS.c.speaker.in_(theirs) & ~describes


def delete(connection: Connection, where: ColumnElement[bool]) -> int:
    """Delete bios with their passages; how many they were."""
    connection.execute(PASSAGES.delete().where(PASSAGES.c.bio.in_(select(BIOS.c.bio).where(where))))
    return connection.execute(BIOS.delete().where(where)).rowcount


def _bio(connection: Connection, row: Row, width: int | None) -> Bio:
    kept = connection.execute(
        select(PASSAGES).where(PASSAGES.c.bio == row.bio).order_by(PASSAGES.c.position)
    ).all()
    passages = tuple(
        Passage(
            one.text,
            one.support,
            None if one.vector is None or width is None else vector_array(one.vector, width),
        )
        for one in kept
    )
    before = Point(row.time, row.sequence, row.conversation_id, row.position)
    return Bio(row.version, row.writer, before, row.utterances, row.conversations, passages)
