"""Recall equals the exact scan, whatever the state of the index."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from speakers_support import EMBEDDER, WIDTH, make, meet, vectors

from speakers import END, Point, Registry, SpeakerId
from speakers.errors import EmbedderMismatchError
from speakers.vectors import recall as recall_module
from speakers.vectors.index import VectorIndex, best, exact_cosine, unit
from speakers.vectors.index_file import path_of, write_draft
from speakers.vectors.index_file import read as read_index


def fill(registry: Registry, conversations: int = 6, turns: int = 6) -> None:
    people = [meet(registry, name) for name in ("Ana", "Bo", "Cy")]
    drawn = vectors(conversations * turns).reshape(conversations, turns, WIDTH)
    drawn[:, 4] = drawn[0, 4]  # equal vectors, to test ties
    drawn[-1, 3] = 0  # a zero vector has no direction
    for number in range(conversations):
        name = f"c{number}"
        lines = [make(people[index % 3], name, index, vector=drawn[number, index]) for index in range(turns)]
        registry.record(name, lines, embedder=EMBEDDER)


def scan(
    registry: Registry, query: np.ndarray, speakers: list[SpeakerId], before: Point, k: int
) -> list[tuple[str, float]]:
    """The exact answer from every row in float64, ties in order of recording."""
    rows = [
        one
        for speaker in speakers
        for one in registry.context(speaker, before=before, limit=10_000).observations
    ]
    scored = []
    for one in rows:
        assert one.vector is not None
        assert one.point is not None
        wide, wanted = one.vector.astype(float), query.astype(float)
        norm = np.linalg.norm(wide) * np.linalg.norm(wanted)
        scored.append(
            (-(wide @ wanted / norm if norm else 0.0), one.point.sequence, one.index, one.utterance_id)
        )
    scored.sort(key=lambda row: (round(row[0], 12), row[1], row[2]))
    return [(name, -score) for score, _, _, name in scored[:k]]


def check(registry: Registry, seed: int = 5) -> None:
    speakers = [one.speaker_id for one in registry.speakers()]
    points = [END, registry.point_for("c3", 2), registry.point_for("c0", 0)]
    for query in (*vectors(3, seed), vectors(36)[4]):
        for before in points:
            for k in (1, 4, 50):
                for chosen in (*([speaker] for speaker in speakers[:2]), None):
                    found = registry.recall(
                        query, speaker=chosen[0] if chosen else None, before=before, k=k
                    ).observations
                    expected = scan(registry, query, chosen or speakers, before, k)
                    assert [hit.observation.utterance_id for hit in found] == [name for name, _ in expected]
                    assert [hit.score for hit in found] == pytest.approx(
                        [score for _, score in expected], abs=1e-12
                    )


def test_recall_equals_the_exact_scan(registry: Registry) -> None:
    fill(registry)
    check(registry)


def test_recall_of_a_long_past_through_the_index_equals_the_exact_scan(
    registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recall_module, "GATHER_LIMIT", 2)
    monkeypatch.setattr(recall_module, "_PROBE", recall_module._IDS.limit(3))
    fill(registry)
    check(registry)


def test_recall_reflects_new_rows_merges_and_deletions(registry: Registry) -> None:
    fill(registry)
    check(registry)
    bo = meet(registry, "Bo")
    registry.record("c9", [make(bo, "c9", 0, vector=vectors(1, 9)[0])], embedder=EMBEDDER)
    check(registry)
    registry.merge("Cy", "Bo")
    check(registry)
    registry.delete_conversation("c1")
    check(registry)
    registry.forget("Ana")
    check(registry)


def test_recall_reflects_writes_and_erasures_of_another_process(address: str, clock: object) -> None:
    with Registry.open(address, clock=clock) as one, Registry.open(address, clock=clock) as other:  # type: ignore[arg-type]
        fill(one)
        check(other)
        one.record("c9", [make(meet(one, "Bo"), "c9", 0, vector=vectors(1, 9)[0])], embedder=EMBEDDER)
        check(other)
        one.forget("Bo")
        check(other)


def test_recall_from_an_older_snapshot_excludes_newer_rows(registry: Registry) -> None:
    fill(registry)
    query, bo = vectors(1, 9)[0], meet(registry, "Bo")
    expected = registry.recall(query, speaker=None, before=END, k=3)
    with registry._session.store.read() as old:
        registry._session.search.recall(old, query, speaker=None, before=END, k=3)
        registry.record("c9", [make(bo, "c9", index, vector=query) for index in range(30)], embedder=EMBEDDER)
        assert (
            registry.recall(query, speaker=None, before=END, k=1).observations[0].observation.conversation_id
            == "c9"
        )
        assert registry._session.search.recall(old, query, speaker=None, before=END, k=3) == expected


def test_recall_returns_passages_of_the_bio_before_the_point(registry: Registry) -> None:
    fill(registry)
    ana = meet(registry, "Ana")
    registry.record(
        "c7", [make(ana, "c7", index, text="garden garden", weights={"joy": 1.0}) for index in range(3)]
    )
    made = vectors(3, 3)
    registry.write_bio(ana, before=END, embed=lambda texts: made[: len(texts)], embedder=EMBEDDER)
    found = registry.recall(made[1], speaker=ana, before=END, k=1).passages
    assert [(hit.passage.text, hit.bio_version) for hit in found] == [("Over 3 turns, mostly joy (3).", 1)]
    assert found[0].score == pytest.approx(1.0)
    assert registry.recall(made[1], speaker=ana, before=registry.point_for("c7", 0), k=1).passages == ()


def test_recall_rejects_a_query_of_another_width(registry: Registry) -> None:
    assert registry.recall(vectors(1)[0], speaker=None, before=END, k=3).observations == ()
    fill(registry)
    with pytest.raises(EmbedderMismatchError):
        registry.recall(np.zeros(3), speaker=None, before=END, k=3)


def _break(path: Path, how: str) -> None:
    raw = bytearray(path.read_bytes())
    if how == "deleted":
        path.unlink()
    elif how == "truncated":
        path.write_bytes(raw[:-100])
    elif how == "emptied":
        path.write_bytes(b"")
    else:
        raw[
            {"flipped header": 50, "flipped id": 80, "flipped vector": len(raw) - 7, "flipped code": 20}[how]
        ] ^= 0x10
        path.write_bytes(bytes(raw))


@pytest.mark.parametrize(
    "how",
    ["deleted", "truncated", "emptied", "flipped header", "flipped id", "flipped vector", "flipped code"],
)
def test_a_broken_index_file_gives_the_same_answers(tmp_path: Path, how: str) -> None:
    path = tmp_path / "s.db"
    with Registry.open(path) as registry:
        fill(registry)
        assert registry.rebuild() == 36
        row = registry.tenant.row
        secret = registry.tenant.secret
    cached = path_of(path, row)
    assert read_index(cached, secret, width=WIDTH) is not None
    _break(cached, how)
    assert read_index(cached, secret, width=WIDTH) is None
    with Registry.open(path) as registry:
        check(registry)
        registry.rebuild()
        assert read_index(cached, secret, width=WIDTH) is not None


def test_an_index_file_of_another_store_is_not_read(tmp_path: Path) -> None:
    for name in ("a.db", "b.db"):
        with Registry.open(tmp_path / name) as registry:
            fill(registry, 2)
            registry.rebuild()
            secret = registry.tenant.secret
    path_of(tmp_path / "a.db", 1).replace(path_of(tmp_path / "b.db", 1))
    assert read_index(path_of(tmp_path / "b.db", 1), secret, width=WIDTH) is None


def test_index_file_round_trip_keeps_every_number(tmp_path: Path) -> None:
    index = VectorIndex(WIDTH, 7, 3)
    ids = np.arange(5) * 3 + 1
    index.add(ids=ids, vectors=unit(vectors(5)), times=ids / 2, sequences=ids * 2, positions=ids * 4)
    index.remove(np.array([4, 99]))
    draft = write_draft(tmp_path / "index", index, b"secret")
    found = read_index(draft, b"secret", width=WIDTH)
    assert found is not None
    assert (found.generation, found.epoch) == (7, 3)
    for name in ("ids", "times", "sequences", "positions"):
        assert getattr(found, name).tolist() == getattr(index, name).tolist()
    assert found.vectors().tobytes() == unit(vectors(5))[[0, 2, 3, 4]].tobytes()


@given(st.integers(1, 60), st.integers(1, 12), st.integers(0, 10_000), st.booleans())
@settings(deadline=None, max_examples=60)
def test_candidates_always_include_the_nearest(count: int, k: int, seed: int, close: bool) -> None:
    drawn = vectors(count, seed)
    if close:  # neighbours that differ by less than float32 precision
        drawn = drawn[:1] + 1e-7 * drawn
    index = VectorIndex(WIDTH)
    ids = np.arange(count) + 10
    index.add(ids=ids, vectors=unit(drawn), times=ids, sequences=ids, positions=ids)
    query = vectors(1, seed + 1)[0]
    for allowed in (None, ids[::2]):
        pool = ids if allowed is None else allowed
        scores = exact_cosine(drawn[pool - 10], query)
        expected = set(pool[best(pool, scores, k)].tolist())
        assert expected <= set(index.candidates(query, k, allowed=allowed).tolist())


@given(st.integers(1, 40), st.integers(0, 1000))
@settings(deadline=None, max_examples=30)
def test_exact_scores_do_not_depend_on_other_rows(count: int, seed: int) -> None:
    rows, query = vectors(count, seed, width=37), vectors(1, seed + 1, width=37)[0]
    together = exact_cosine(rows, query)
    assert together.tolist() == [exact_cosine(row[None], query)[0] for row in rows]
