"""The order of turns, and recording."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from speakers_support import EMBEDDER, Clock, dump, make, meet, vectors

from speakers import (
    END,
    ConversationLabel,
    Embedder,
    Observation,
    Point,
    Registry,
    SpeakerId,
    StoredUncertainty,
)
from speakers.errors import EmbedderMismatchError, InvalidRecordError, UnknownSpeakerError
from speakers.recording import Place, Timeline
from speakers.store.tables import OBSERVATIONS


def test_record_keeps_every_field(registry: Registry) -> None:
    ana = meet(registry, "Ana")
    given_ = Observation(
        ana,
        "c",
        "u0",
        0,
        text="hé\U0001f600",
        timestamp=5.5,
        weights={"joy": 0.25, "fear": 0.5},
        uncertainty=StoredUncertainty(0.5, 0.25, 0.25),
        label=ConversationLabel("joy", 0.75),
        correction="fear",
        model="m@1",
        vector=vectors(1)[0],
    )
    registry.record("c", [given_], embedder=EMBEDDER)
    (kept,) = registry.context(ana, before=END).observations
    assert kept.vector is not None
    assert kept.vector.tobytes() == vectors(1)[0].tobytes()
    assert kept.point == Point(5.5, 1, "c", 0)
    fields = (
        "text",
        "timestamp",
        "weights",
        "uncertainty",
        "label",
        "correction",
        "model",
        "utterance_id",
        "index",
    )
    assert [getattr(kept, field) for field in fields] == [getattr(given_, field) for field in fields]


def test_record_keeps_float16_vectors_unchanged(registry: Registry) -> None:
    ana, half = meet(registry, "Ana"), vectors(1)[0].astype(np.float16)
    registry.record("c", [make(ana, "c", 0, vector=half)], embedder=EMBEDDER)
    kept = registry.context(ana, before=END).observations[0].vector
    assert kept is not None
    assert kept.dtype == np.float16
    assert kept.tobytes() == half.tobytes()


def test_record_of_stored_turns_changes_nothing(registry: Registry, clock: Clock) -> None:
    ana = meet(registry, "Ana")
    turns = [make(ana, "c", index, text=f"line {index}") for index in range(4)]
    registry.record("c", turns)
    before = dump(registry)
    clock.now += 1e6
    receipt = registry.record("c", [make(ana, "c", index, text="edited") for index in range(4)])
    assert (receipt.recorded, receipt.known) == (0, 4)
    assert dump(registry) == before


def test_record_stores_equal_texts_as_two_observations(registry: Registry) -> None:
    ana = meet(registry, "Ana")
    registry.record("c", [make(ana, "c", 0, text="No."), make(ana, "c", 1, text="No.")])
    assert registry.context(ana, before=END).utterances == 2


def test_record_keeps_the_order_when_the_clock_jumps_back(registry: Registry, clock: Clock) -> None:
    ana = meet(registry, "Ana")
    for number, jump in enumerate([0.0, -5000.0, 100.0, -80_000.0]):
        clock.now += jump
        registry.record(f"c{3 - number}", [make(ana, f"c{3 - number}", 0)])
    seen = [one.conversation_id for one in registry.context(ana, before=END).observations]
    assert seen == ["c3", "c2", "c1", "c0"]


def test_record_ignores_an_earlier_clock_time_far_in_the_future(registry: Registry, clock: Clock) -> None:
    ana = meet(registry, "Ana")
    right = clock.now
    for name, now in (("ahead", 4e9), ("undated", right), ("dated", right + 100)):
        clock.now = now
        registry.record(name, [make(ana, name, 0, timestamp=now if name == "dated" else None)])
    kept = registry.context(ana, before=END).observations
    assert [(one.conversation_id, one.point.time) for one in kept if one.point] == [
        ("undated", right),
        ("dated", right + 100),
        ("ahead", 4e9),
    ]


def test_timestamps_take_precedence_over_recording_order(registry: Registry) -> None:
    ana = meet(registry, "Ana")
    registry.record("late", [make(ana, "late", 0, timestamp=200.0)])
    registry.record("early", [make(ana, "early", 0, timestamp=100.0)])
    assert [one.conversation_id for one in registry.context(ana, before=END).observations] == [
        "early",
        "late",
    ]
    assert registry.context(ana, before=Point(200.0, 1, "late", 0)).utterances == 1


def test_point_for_equals_the_point_that_record_assigns(registry: Registry, clock: Clock) -> None:
    ana = meet(registry, "Ana")
    registry.record("first", [make(ana, "first", 0)])
    clock.now -= 500
    turns = [(0, None), (1, 50.0), (2, 40.0), (3, None), (4, 60.0)]
    expected = registry.points_for("c", turns)
    registry.record("c", [make(ana, "c", index, timestamp=timestamp) for index, timestamp in turns])
    stored = registry.context(ana, before=END).observations
    assert [one.point for one in stored if one.conversation_id == "c"] == list(expected)
    clock.now += 10_000
    assert registry.points_for("c", turns) == expected


def test_before_is_strict_within_a_conversation(registry: Registry) -> None:
    ana = meet(registry, "Ana")
    registry.record("c", [make(ana, "c", index) for index in range(5)])
    assert registry.context(ana, before=registry.point_for("c", 3)).utterances == 3


@given(st.lists(st.one_of(st.none(), st.floats(-1e9, 1e9)), max_size=12), st.randoms(use_true_random=False))
@settings(deadline=None)
def test_timeline_never_contradicts_the_index(timestamps: list[float | None], random: object) -> None:
    line, turns = Timeline(Place(1, 0.0)), list(enumerate(timestamps))
    cut = random.randint(0, len(turns))  # type: ignore[attr-defined]
    chosen = set(random.sample(range(len(turns)), cut))  # type: ignore[attr-defined]
    times: dict[int, float] = {}
    for part in (
        [turn for turn in turns if turn[0] in chosen],
        [turn for turn in turns if turn[0] not in chosen],
    ):
        times |= dict(zip((index for index, _ in part), line.add(part), strict=True))
    assert all(times[earlier] <= times[later] for earlier, later in pairwise(sorted(times)))


def test_record_stores_all_turns_or_none(registry: Registry) -> None:
    ana = meet(registry, "Ana")
    with pytest.raises(UnknownSpeakerError):
        registry.record("c", [make(ana, "c", 0), make(SpeakerId("spk_" + "0" * 26), "c", 1)])
    assert registry.context(ana, before=END).utterances == 0


def test_record_rejects_two_utterances_at_one_index(registry: Registry) -> None:
    ana = meet(registry, "Ana")
    registry.record("c", [make(ana, "c", 0)])
    with pytest.raises(InvalidRecordError, match="turn 0"):
        registry.record("c", [Observation(ana, "c", "other", 0)])


def test_record_rejects_vectors_of_another_embedder(registry: Registry) -> None:
    ana = meet(registry, "Ana")
    registry.record("c", [make(ana, "c", 0, vector=vectors(1)[0])], embedder=EMBEDDER)
    with pytest.raises(EmbedderMismatchError, match="tiny@1"):
        registry.record("d", [make(ana, "d", 0, vector=vectors(1)[0])], embedder=Embedder("tiny", "2", 8))
    with pytest.raises(EmbedderMismatchError, match="shape"):
        registry.record("d", [make(ana, "d", 0, vector=vectors(1, width=4)[0])], embedder=EMBEDDER)
    with pytest.raises(EmbedderMismatchError, match="embedder="):
        registry.record("d", [make(ana, "d", 0, vector=vectors(1)[0])])


@pytest.mark.parametrize(
    "fields",
    [
        {"text": "a\x00b"},
        {"text": "\ud800"},
        {"timestamp": float("nan")},
        {"weights": {"joy": 1.5}},
        {"weights": {"joy": float("nan")}},
        {"vector": np.full(8, np.inf)},
        {"weights": {"j\x00y": 0.5}},
        {"uncertainty": StoredUncertainty(float("inf"), 0.0, 0.0)},
        {"uncertainty": StoredUncertainty(0.0, 0.0, float("nan"))},
        {"label": ConversationLabel("joy", float("nan"))},
        {"label": ConversationLabel("\ud800", 0.5)},
    ],
)
def test_observation_rejects_values_no_engine_can_store(fields: dict[str, object]) -> None:
    with pytest.raises(InvalidRecordError, match="'c-0'"):
        make(SpeakerId("spk"), "c", 0, **fields)


@pytest.mark.parametrize("index", [1.5, -1, True, 2**60, None])
def test_observation_rejects_an_index_that_is_not_a_whole_number(index: object) -> None:
    with pytest.raises(InvalidRecordError, match="index"):
        Observation(SpeakerId("spk"), "c", "u", index)  # type: ignore[arg-type]


def test_numbers_that_are_not_finite_are_read_as_missing(registry: Registry) -> None:
    ana = meet(registry, "Ana")
    registry.record(
        "c",
        [
            make(
                ana, "c", 0, uncertainty=StoredUncertainty(1.0, 1.0, 0.0), label=ConversationLabel("joy", 0.5)
            )
        ],
    )
    with registry._session.write() as connection:
        connection.execute(OBSERVATIONS.update().values(total=float("inf"), confidence=float("inf")))
    (kept,) = registry.context(ana, before=END).observations
    assert (kept.uncertainty, kept.label) == (None, None)
    assert "Infinity" not in "".join(registry.export())


def test_correct_keeps_the_labels_of_the_models(registry: Registry) -> None:
    ana = meet(registry, "Ana")
    registry.record("c", [make(ana, "c", 0, label=ConversationLabel("joy", 0.5))])
    registry.correct("c", "c-0", "fear")
    (kept,) = registry.context(ana, before=END).observations
    assert (kept.correction, kept.label) == ("fear", ConversationLabel("joy", 0.5))
