"""What a model may read of a speaker's past. It never reads the future."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from speakers_support import EMBEDDER, make, meet, vectors

from speakers import DETERMINISTIC, END, Point, Registry
from speakers.bio_text import write_from_history
from speakers.errors import InvalidRecordError


def fill(registry: Registry, conversations: int = 4, turns: int = 5) -> None:
    ana, bo = meet(registry, "Ana"), meet(registry, "Bo")
    for number in range(conversations):
        name = f"c{number}"
        lines = [
            make(
                ana if index % 2 else bo,
                name,
                index,
                text="the exam again",
                weights={"joy": 0.1 * index, "fear": 0.9 - 0.1 * index},
            )
            for index in range(turns)
        ]
        registry.record(name, lines)


def test_context_returns_the_last_turns_oldest_first_and_counts_all(registry: Registry) -> None:
    fill(registry)
    context = registry.context(meet(registry, "Ana"), before=END, limit=3)
    assert [one.utterance_id for one in context.observations] == ["c2-3", "c3-1", "c3-3"]
    assert (context.utterances, context.conversations) == (8, 4)


def test_context_before_a_point_equals_that_of_a_store_without_the_rest(fresh: object, clock: object) -> None:
    with Registry.open(fresh(), clock=clock) as whole, Registry.open(fresh(), clock=clock) as part:  # type: ignore[operator, arg-type]
        fill(whole, 4)
        fill(part, 2)
        for name in ("Ana", "Bo"):
            seen = whole.context(meet(whole, name), before=whole.point_for("c2", 0), limit=50)
            expected = part.context(meet(part, name), before=END, limit=50)
            assert [one.utterance_id for one in seen.observations] == [
                one.utterance_id for one in expected.observations
            ]
            assert (seen.summary, seen.utterances, seen.conversations) == (
                expected.summary,
                expected.utterances,
                expected.conversations,
            )


def test_contexts_equals_context_for_each_pair(registry: Registry) -> None:
    fill(registry)
    wanted = [
        (meet(registry, name), registry.point_for(f"c{number}", 2))
        for number in range(4)
        for name in ("Ana", "Bo")
    ]
    assert registry.contexts(wanted) == tuple(
        registry.context(speaker, before=point) for speaker, point in wanted
    )


def test_a_new_speaker_has_an_empty_past(registry: Registry) -> None:
    context = registry.context(meet(registry, "Ana"), before=END)
    assert (context.observations, context.utterances, context.summary.unknown, context.bio) == (
        (),
        0,
        1.0,
        None,
    )


def test_context_rejects_a_negative_limit(registry: Registry) -> None:
    with pytest.raises(InvalidRecordError):
        registry.context(meet(registry, "Ana"), before=END, limit=-1)


POINTS = st.builds(
    Point,
    st.sampled_from([0.0, 1.0, 2.0]),
    st.integers(0, 4),
    st.sampled_from(["b", "c0", "c1", "c2", "d"]),
    st.integers(0, 3),
)


@given(
    st.lists(st.tuples(st.sampled_from([0.0, 1.0, 2.0, None]), st.integers(1, 3)), min_size=1, max_size=4),
    st.lists(POINTS, min_size=1, max_size=8),
)
@settings(deadline=None, max_examples=15)
def test_before_follows_the_order_of_points(
    tmp_path_factory: pytest.TempPathFactory,
    conversations: list[tuple[float | None, int]],
    points: list[Point],
) -> None:
    with Registry.open(tmp_path_factory.mktemp("s") / "s.db", clock=lambda: 1.5) as registry:
        ana = meet(registry, "Ana")
        for number, (timestamp, turns) in enumerate(conversations):
            rows = zip(range(turns), vectors(turns, number), strict=True)
            registry.record(
                f"c{number}",
                [
                    make(ana, f"c{number}", index, timestamp=timestamp, vector=vector)
                    for index, vector in rows
                ],
                embedder=EMBEDDER,
            )
        every = registry.context(ana, before=END, limit=50).observations
        for point in points:
            expected = {one.utterance_id for one in every if one.point is not None and one.point < point}
            assert {
                one.utterance_id for one in registry.context(ana, before=point, limit=50).observations
            } == expected
            for speaker in (ana, None):
                found = registry.recall(vectors(1)[0], speaker=speaker, before=point, k=50).observations
                assert {hit.observation.utterance_id for hit in found} == expected


def test_deleting_a_conversation_leaves_the_state_of_a_replay_without_it(
    fresh: object, clock: object
) -> None:
    with Registry.open(fresh(), clock=clock) as whole, Registry.open(fresh(), clock=clock) as part:  # type: ignore[operator, arg-type]
        for registry in (whole, part):
            ana = meet(registry, "Ana")
            for number in range(4):
                if registry is part and number == 2:
                    continue
                owner = meet(registry, "Guest star") if number == 2 else ana
                lines = [
                    make(owner if index == 0 else ana, f"c{number}", index, weights={"joy": 0.1 * number})
                    for index in range(3)
                ]
                registry.record(f"c{number}", lines)
        whole.delete_conversation("c2")
        left, expected = (one.context(meet(one, "Ana"), before=END, limit=50) for one in (whole, part))
        assert [one.utterance_id for one in left.observations] == [
            one.utterance_id for one in expected.observations
        ]
        assert left.summary == expected.summary
        assert [one.name for one in whole.speakers()] == [one.name for one in part.speakers()]


def test_bio_states_topics_and_emotions_with_counts(registry: Registry) -> None:
    ana = meet(registry, "Ana")
    said = [
        ("My exam is near", "fear"),
        ("That exam!", "fear"),
        ("The garden is lovely", "joy"),
        ("Our garden", "joy"),
        ("Hm", "joy"),
    ]
    registry.record(
        "c",
        [
            make(ana, "c", index, text=text, weights={label: 0.9, "neutral": 0.1})
            for index, (text, label) in enumerate(said)
        ],
    )
    bio = registry.write_bio(ana, before=END)
    assert bio.text == (
        "Often talks about exam (2 turns), garden (2 turns). Over 5 turns, mostly joy (3), fear (2). "
        "Speaking of exam, shows fear (2 of 2 turns). Speaking of garden, shows joy (2 of 2 turns)."
    )
    assert (bio.writer, bio.version, bio.utterances, bio.conversations) == (DETERMINISTIC.name, 1, 5, 1)


def test_bio_is_written_and_read_from_the_past_only(registry: Registry) -> None:
    fill(registry)
    ana = meet(registry, "Ana")
    early = registry.write_bio(ana, before=registry.point_for("c1", 0))
    late = registry.write_bio(ana, before=registry.point_for("c3", 0))
    assert (early.utterances, late.utterances, late.version) == (2, 6, 2)
    assert registry.context(ana, before=registry.point_for("c0", 3)).bio is None
    assert registry.context(ana, before=registry.point_for("c2", 0)).bio == early
    assert registry.context(ana, before=END).bio == late


def test_bio_is_hidden_while_its_speaker_has_other_turns(registry: Registry) -> None:
    fill(registry)
    ana, bo = meet(registry, "Ana"), meet(registry, "Bo")
    bio = registry.write_bio(ana, before=END)
    entry = registry.merge(bo, ana)
    assert registry.context(ana, before=END).bio is None
    registry.undo(entry)
    assert registry.context(ana, before=END).bio == bio


def test_bio_is_deleted_with_a_conversation_it_uses(registry: Registry) -> None:
    fill(registry)
    ana = meet(registry, "Ana")
    kept = registry.write_bio(ana, before=registry.point_for("c1", 0))
    registry.write_bio(ana, before=END)
    registry.delete_conversation("c3")
    assert registry.bio_versions(ana) == (kept,)


def test_bio_without_turns_has_no_passage() -> None:
    assert write_from_history(()) == ()
