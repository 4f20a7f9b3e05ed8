"""What a model may read of a speaker before a point: the last turns, a decayed summary and counts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from sqlalchemy import Connection, Row, bindparam, func, select, tuple_

from speakers.records import Bio, Point, SpeakerContext, SpeakerId, Summary
from speakers.store.codec import Vocabulary, observations
from speakers.store.tables import OBSERVATIONS

_DAY = 86_400.0
_O = OBSERVATIONS.c
_ORDER = (_O.time, _O.sequence, _O.conversation_id, _O.position)
_NEWEST_FIRST = tuple(column.desc() for column in _ORDER)
_BOUNDS = tuple(bindparam(f"before_{column.name}", type_=column.type) for column in _ORDER)

PAST = (_O.speaker == bindparam("past_speaker")) & (tuple_(*_ORDER) < tuple_(*_BOUNDS))
"""A speaker's rows strictly before a point, answered from one index. `past` gives the parameters."""

# Built once: for lookups this small, building a statement costs more than running it.
_LAST = select(OBSERVATIONS).where(PAST).order_by(*_NEWEST_FIRST).limit(bindparam("rows"))
_WEIGHTS = select(_O.time, _O.sequence, _O.label_set, _O.weights).where(PAST, _O.weights.is_not(None))
_WINDOW = _WEIGHTS.order_by(*_NEWEST_FIRST).limit(bindparam("rows"))
_COUNTS = (
    select(func.count(), func.count(_O.conversation_id.distinct())).select_from(OBSERVATIONS).where(PAST)
)


@dataclass(frozen=True, slots=True, kw_only=True)
class SummaryRule:
    """How a summary weighs turns.

    Attributes:
        window: the number of last turns used, at least 1.
        half_life_days: a turn has half the weight of one that is this many days younger.
        cap: the largest share of one conversation, above 0 and at most 1.

    Raises:
        ValueError: a field is out of its range.
    """

    window: int = 128
    half_life_days: float = 30.0
    cap: float = 0.25

    def __post_init__(self) -> None:
        if self.window < 1 or not self.half_life_days > 0 or not 0 < self.cap <= 1:
            raise ValueError(
                f"{self}: window must be at least 1, half_life_days above 0, cap above 0 and at most 1"
            )


def past(speaker: int, before: Point) -> dict[str, object]:
    """The parameters of `PAST`."""
    bounds = (before.time, before.sequence, before.conversation_id, before.index)
    return {"past_speaker": speaker} | {
        bound.key: value for bound, value in zip(_BOUNDS, bounds, strict=True)
    }


def last_rows(connection: Connection, speaker: int, before: Point, limit: int) -> Sequence[Row]:
    """The speaker's last rows before a point, oldest first."""
    return connection.execute(_LAST, past(speaker, before) | {"rows": limit}).all()[::-1]


def summary(
    connection: Connection, vocabulary: Vocabulary, speaker: int, before: Point, rule: SummaryRule
) -> Summary:
    """The summary of a speaker's turns before a point."""
    rows = connection.execute(_WINDOW, past(speaker, before) | {"rows": rule.window}).all()
    sets = dict.fromkeys(row.label_set for row in rows)
    labels = {one: vocabulary.labels(connection, one) for one in sets}
    return summarise([(row.time, row.sequence, labels[row.label_set], row.weights) for row in rows], rule)


def summarise(turns: Sequence[tuple[float, int, tuple[str, ...], bytes]], rule: SummaryRule) -> Summary:
    """The summary of turns (time, conversation sequence, labels, float32 weights as bytes), newest first.

    Ages are relative to the newest turn. A clock that jumped or a long pause therefore makes no weight
    negative or zero.
    """
    if not turns:
        return Summary()
    times = np.array([turn[0] for turn in turns])
    halvings = (times[0] - times) / (rule.half_life_days * _DAY)
    _, first, member = np.unique(
        np.array([turn[1] for turn in turns]), return_index=True, return_inverse=True
    )
    newest = halvings[first]  # rows are newest first, so a conversation's first row is its newest
    decay = np.exp2(newest[member] - halvings)
    mass = np.bincount(member, weights=decay)
    shares = capped_shares(np.log2(mass) - newest, rule.cap)
    worth = (shares / mass)[member] * decay
    weights: dict[str, float] = {}
    for labels in dict.fromkeys(turn[2] for turn in turns):
        chosen = [position for position, turn in enumerate(turns) if turn[2] == labels]
        matrix = np.frombuffer(b"".join(turns[position][3] for position in chosen), dtype="<f4").reshape(
            len(chosen), len(labels)
        )
        for label, weight in zip(labels, (worth[chosen] @ matrix.astype(np.float64)).tolist(), strict=True):
            weights[label] = weights.get(label, 0.0) + weight
    return Summary(weights, max(0.0, 1.0 - float(shares.sum())))


def counts(connection: Connection, speaker: int, before: Point) -> tuple[int, int]:
    """The number of turns and of conversations before a point."""
    utterances, conversations = connection.execute(_COUNTS, past(speaker, before)).one()
    return utterances, conversations


def context(
    connection: Connection,
    vocabulary: Vocabulary,
    *,
    speaker: int,
    speaker_id: SpeakerId,
    before: Point,
    limit: int,
    rule: SummaryRule,
    width: int | None,
    bio: Bio | None,
) -> SpeakerContext:
    """Everything that a model may read of a speaker before a point."""
    last = last_rows(connection, speaker, before, limit) if limit else []
    utterances, conversations = counts(connection, speaker, before)
    turns = observations(connection, last, speaker=speaker_id, vocabulary=vocabulary, width=width)
    weights = summary(connection, vocabulary, speaker, before, rule)
    return SpeakerContext(speaker_id, turns, weights, utterances, conversations, bio)


def capped_shares(log_weights: np.ndarray, cap: float) -> np.ndarray:
    """Shares of weights, none above `cap`: min(l * w, cap), with the factor l for which they sum to 1.

    `log_weights` are logarithms to base 2, shape (N,), so that weights of very different ages stay above 0.
    With fewer than 1 / cap weights no l exists: each share is `cap`, and the rest is assigned to nobody.

    Adding one conversation only reduces the other shares. It therefore moves a weighted mean of values in
    [0, 1] by at most `cap`, however many turns it has. With the k largest weights capped,
    l = (1 - k * cap) / (sum of the other weights).

    Raises:
        ValueError: `cap` is not above 0 and at most 1.
    """
    if not 0.0 < cap <= 1.0:
        raise ValueError(f"cap={cap}: the share of one conversation must be above 0 and at most 1")
    count = len(log_weights)
    if count * cap <= 1.0:
        return np.full(count, cap)
    order = np.argsort(-log_weights, kind="stable")
    falling = log_weights[order]
    rest = np.logaddexp2.accumulate(falling[::-1])[::-1]  # log2 of the sum from the k-th largest on
    room = 1.0 - cap * np.arange(count)
    # The first k for which the next share stays below the cap.
    capped = int(np.argmax(room * np.exp2(falling - rest) <= cap))
    shares = np.full(count, cap)
    shares[order[capped:]] = np.minimum(room[capped] * np.exp2(falling[capped:] - rest[capped]), cap)
    return shares
