"""What a model may read of a speaker: the last turns, a decayed summary, counts and the bio, all strictly before a point."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from sqlalchemy import Connection, Row, bindparam, func, select, tuple_

from speakers.records import Bio, Observation, Point, SpeakerContext, SpeakerId, Summary
from speakers.store.codec import Vocabulary, observations
from speakers.store.tables import OBSERVATIONS

_DAY = 86_400.0
_O = OBSERVATIONS.c
_ORDER = (_O.time, _O.sequence, _O.conversation_id, _O.position)
_NEWEST_FIRST = tuple(column.desc() for column in _ORDER)
_BOUNDS = tuple(bindparam(f"before_{column.name}", type_=column.type) for column in _ORDER)

PAST = (_O.speaker == bindparam("past_speaker")) & (tuple_(*_ORDER) < tuple_(*_BOUNDS))
"""A speaker's rows strictly before a point, in the form both engines answer from one index; `past` gives the parameters."""

# Statements are built once: for look-ups this small, building them would cost more than running them.
_LAST = select(OBSERVATIONS).where(PAST).order_by(*_NEWEST_FIRST).limit(bindparam("rows"))
_WEIGHTS = select(_O.time, _O.sequence, _O.label_set, _O.weights).where(PAST, _O.weights.is_not(None))
_WINDOW = _WEIGHTS.order_by(*_NEWEST_FIRST).limit(bindparam("rows"))
_COUNTS = (
    select(func.count(), func.count(_O.conversation_id.distinct())).select_from(OBSERVATIONS).where(PAST)
)


@dataclass(frozen=True, slots=True, kw_only=True)
class SummaryRule:
    """How a summary is made: over the last `window` turns, each worth half of one `half_life_days` younger,
    with no conversation above a share of `cap`."""

    window: int = 128
    half_life_days: float = 30.0
    cap: float = 0.25

    def __post_init__(self) -> None:
        if self.window < 1 or not self.half_life_days > 0 or not 0 < self.cap <= 1:
            raise ValueError(
                f"{self}: window is at least 1, half_life_days above 0, cap above 0 and at most 1"
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
    connection: Connection, sets: Vocabulary, speaker: int, before: Point, rule: SummaryRule
) -> Summary:
    """The decayed, bounded emotion weights before a point."""
    rows = connection.execute(_WINDOW, past(speaker, before) | {"rows": rule.window}).all()
    labels = {row: sets.labels(connection, row) for row in dict.fromkeys(row.label_set for row in rows)}
    return summarise([(row.time, row.sequence, labels[row.label_set], row.weights) for row in rows], rule)


def summarise(turns: Sequence[tuple[float, int, tuple[str, ...], bytes]], rule: SummaryRule) -> Summary:
    """The summary of turns (time, conversation, labels, float32 weights as bytes), newest first.

    Ages are counted from the newest of them, so neither a clock that jumped nor a long silence makes a weight
    negative or void.
    """
    if not turns:
        return Summary()
    times = np.array([turn[0] for turn in turns])
    halvings = (times[0] - times) / (rule.half_life_days * _DAY)
    _, first, member = np.unique(
        np.array([turn[1] for turn in turns]), return_index=True, return_inverse=True
    )
    newest = halvings[first]  # rows come newest first, so a conversation's first row is its newest
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
    """How many turns and conversations there were before a point, answered from the index alone."""
    utterances, conversations = connection.execute(_COUNTS, past(speaker, before)).one()
    return utterances, conversations


def context(
    connection: Connection,
    sets: Vocabulary,
    *,
    speaker: int,
    speaker_id: SpeakerId,
    before: Point,
    limit: int,
    rule: SummaryRule,
    width: int | None,
    bio: Bio | None,
) -> SpeakerContext:
    """Everything a model may read of the speaker before a point."""
    last = last_rows(connection, speaker, before, limit) if limit else []
    utterances, conversations = counts(connection, speaker, before)
    turns: tuple[Observation, ...] = observations(
        connection, last, speaker=speaker_id, sets=sets, width=width
    )
    return SpeakerContext(
        speaker_id, turns, summary(connection, sets, speaker, before, rule), utterances, conversations, bio
    )


def capped_shares(log_weights: np.ndarray, cap: float) -> np.ndarray:
    """Shares min(l * w, cap) of weights w = 2 ** log_weights, shape (N,), with the one l at which they sum to 1.

    With fewer than 1 / cap weights no l exists: each gets `cap`, and what is missing to 1 is nobody's. Adding
    one conversation only ever takes from the others, so it moves any weighted mean of values in [0, 1] by at
    most `cap`, however many turns it has. The level is found in closed form: with the k largest capped, l =
    (1 - k * cap) / (the sum of the others). Logarithms keep weights of very different ages from vanishing.
    """
    if not 0.0 < cap <= 1.0:
        raise ValueError(f"cap={cap}: the share of one conversation lies above 0 and at most at 1")
    count = len(log_weights)
    if count * cap <= 1.0:
        return np.full(count, cap)
    order = np.argsort(-log_weights, kind="stable")
    falling = log_weights[order]
    rest = np.logaddexp2.accumulate(falling[::-1])[::-1]  # the logarithm of the k-th largest and all below it
    room = 1.0 - cap * np.arange(count)
    capped = int(
        np.argmax(room * np.exp2(falling - rest) <= cap)
    )  # the first k at which the next one stays below the cap
    shares = np.full(count, cap)
    shares[order[capped:]] = np.minimum(room[capped] * np.exp2(falling[capped:] - rest[capped]), cap)
    return shares
