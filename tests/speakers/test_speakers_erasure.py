"""Forgetting, export and import, retention, and what each policy stores."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path

import pytest
from speakers_support import EMBEDDER, Clock, dump, make, meet, vectors

from speakers import END, BioWriter, Observation, Options, Passage, Policy, Registry, SpeakerId
from speakers.erasure import deletion, files, requests
from speakers.errors import (
    ErasureIncompleteError,
    InvalidPolicyError,
    InvalidRecordError,
    NameTakenError,
    PolicyMismatchError,
    UnknownSpeakerError,
)

NAME, OTHER, WORDS = "Zebedee Quillfeather", "Zeb Quillfeather", "the marmalade submarine sings "


def live(registry: Registry, name: str = NAME, conversations: int = 8, turns: int = 12) -> None:
    """Records a person and another who alternate, so that their rows share database pages."""
    drawn = vectors(conversations * turns, 1)
    for number in range(conversations):
        here = f"talk{number}"
        owners = [meet(registry, name, here), meet(registry, "Keeper", here)]
        lines = []
        for index in range(turns):
            mine = index % 2 == 0
            text = f"{WORDS}{number}.{index} " * 9 if mine else f"something else {index}"
            vector = drawn[number * turns + index]
            lines.append(make(owners[not mine], here, index, text=text, weights={"joy": 0.5}, vector=vector))
        registry.record(here, lines, embedder=EMBEDDER)


def traces(folder: Path, *, conversations: int = 8, turns: int = 12) -> list[str]:
    """Where files in the folder contain the person's names, words (in three encodings) or vectors."""
    from speakers.vectors.index import unit

    drawn = vectors(conversations * turns, 1)[::2]
    needles = {
        f"{text!r} as {code}": text.encode(code)
        for text in (NAME, OTHER, NAME.casefold(), WORDS)
        for code in ("utf-8", "utf-16-le", "utf-16-be")
    }
    needles |= {f"vector {number}": vector.tobytes() for number, vector in enumerate(drawn)}
    needles |= {f"unit vector {number}": vector.tobytes() for number, vector in enumerate(unit(drawn))}
    return [
        f"{what} in {path.name}"
        for path in folder.rglob("*")
        if path.is_file()
        for what, needle in needles.items()
        if needle in path.read_bytes()
    ]


def test_forget_leaves_no_byte_in_the_folder(tmp_path: Path) -> None:
    with Registry.open(tmp_path / "s.db") as registry:
        live(registry)
        zeb = meet(registry, NAME)
        registry.rename(zeb, OTHER)
        registry.write_bio(zeb, before=END, embed=lambda texts: vectors(len(texts), 2), embedder=EMBEDDER)
        registry.rebuild()
        assert len(traces(tmp_path)) > 20  # the search itself works
        done = registry.forget(NAME)
        assert (done.speakers, done.observations, done.bios) == (1, 48, 1)
        assert traces(tmp_path) == []
        keeper = registry.context(meet(registry, "Keeper"), before=END, limit=1)
        assert keeper.utterances == 48
    assert traces(tmp_path) == []


MONTH = Options(policy=Policy(retention_days=30), busy_seconds=0.3)
DAY = 86_400


def test_retention_spares_a_speaker_whose_turns_are_about_to_be_recorded(fresh: object, clock: Clock) -> None:
    with Registry.open(fresh(), clock=clock, options=MONTH) as registry:  # type: ignore[operator]
        ana, bo = meet(registry, "Ana"), meet(registry, "Bo")
        registry.record("c1", [make(ana, "c1", 0), make(bo, "c1", 1)])
        clock.now += 30 * DAY - 1
        assert (meet(registry, "Ana"), meet(registry, "Bo")) == (ana, bo)
        point = registry.point_for("c2", 0)
        clock.now += 2  # her last conversation expires while the new one is labelled
        assert registry.context(ana, before=point).utterances == 0
        assert registry.record("c2", [make(ana, "c2", 0), make(bo, "c2", 1)]).recorded == 2
        assert [one.conversation_id for one in registry.context(ana, before=END).observations] == ["c2"]


def test_expired_data_is_not_read(fresh: object, clock: Clock) -> None:
    with Registry.open(fresh(), clock=clock, options=MONTH) as registry:  # type: ignore[operator]
        live(registry, conversations=2)
        zeb = meet(registry, NAME)
        registry.write_bio(zeb, before=END)
        clock.now += 20 * DAY
        registry.record("new", [make(zeb, "new", 0, vector=vectors(1)[0])], embedder=EMBEDDER)
        clock.now += 11 * DAY
        assert registry.texts("talk0") == {}
        assert (registry.context(zeb, before=END).utterances, registry.bio_versions(zeb)) == (1, ())
        assert len(registry.recall(vectors(1)[0], speaker=None, before=END, k=99).observations) == 1
        clock.now += 31 * DAY
        assert WORDS not in "".join(registry.export())


def test_record_succeeds_while_a_reader_holds_expired_pages(tmp_path: Path, clock: Clock) -> None:
    with Registry.open(tmp_path / "s.db", clock=clock, options=MONTH) as registry:
        live(registry, conversations=2)
        clock.now += 31 * DAY
        other = Registry.open(tmp_path / "s.db", clock=lambda: 0.0)
        with other._session.store.read() as connection:
            connection.exec_driver_sql("SELECT count(*) FROM observations").scalar()
            ana = meet(registry, "Ana")
            receipt = registry.record("new", [make(ana, "new", 0)])
            assert (receipt.recorded, len(receipt.warnings)) == (1, 1)
            assert "reading" in receipt.warnings[0]
            assert registry.record("newer", [make(ana, "newer", 0)]).warnings == ()
            assert registry.context(ana, before=END).utterances == 2
            assert traces(tmp_path)
        other.close()
    assert traces(tmp_path) == []


def test_retention_is_not_delayed_by_a_wrong_clock(fresh: object, clock: Clock) -> None:
    right = clock.now
    with Registry.open(fresh(), clock=clock, options=MONTH) as registry:  # type: ignore[operator]
        ana = meet(registry, "Ana")
        for name, now in (("ahead", 4e9), ("c0", right), ("c1", right + 20 * DAY)):
            clock.now = now
            registry.record(name, [make(ana, name, 0)])
        assert len(registry.context(ana, before=END).observations) == 3
        clock.now = right + 31 * DAY
        assert [one.conversation_id for one in registry.context(ana, before=END).observations] == ["c1"]


def test_import_of_future_times_affects_neither_clock_nor_retention(fresh: object, clock: Clock) -> None:
    with (
        Registry.open(fresh(), clock=lambda: 9e15) as one,
        Registry.open(fresh(), clock=clock, options=MONTH) as other,
    ):  # type: ignore[operator]
        two(one)
        other.import_lines(list(one.export()))
        now = clock.now
        assert other.point_for("next", 0).time <= now + DAY
        clock.now += 32 * DAY
        assert other.speakers() == ()


def test_retention_erases_speakers_without_turns(fresh: object, clock: Clock) -> None:
    with Registry.open(fresh(), clock=clock, options=MONTH) as registry:  # type: ignore[operator]
        ana = meet(registry, "Ana")
        registry.record("c", [make(ana, "c", 0)])
        meet(registry, "Silent")
        clock.now += 30 * DAY - 10
        meet(registry, "Silent")
        clock.now += 20
        assert [one.name for one in registry.speakers()] == ["Silent"]  # whose turns may still be recorded
        clock.now += 2 * DAY
        assert registry.speakers() == ()


@pytest.mark.parametrize("name", ["mem[1].db", "what?.db", "every*.db"])
def test_forget_removes_the_cached_index_for_any_file_name(tmp_path: Path, name: str) -> None:
    bystander = tmp_path / "mem1.db-index-1"
    bystander.write_bytes(b"another memory's")
    with Registry.open(tmp_path / name) as registry:
        live(registry, conversations=1)
        registry.rebuild()
        (tmp_path / f"{name}-index-1.77.tmp").write_bytes(WORDS.encode())
        registry.forget(NAME)
        assert traces(tmp_path, conversations=1) == []
    stale = tmp_path / f"{name}-index-1.77.tmp"
    stale.write_bytes(b"a draft of a killed process")
    os.utime(stale, (0, 0))
    Registry.open(tmp_path / name).close()
    assert not stale.exists()
    assert bystander.exists()


def two(registry: Registry) -> tuple[SpeakerId, SpeakerId]:
    """Zebedee with rare words in one conversation, Keeper with others in two."""
    zeb, keeper = meet(registry, NAME), meet(registry, "Keeper")
    registry.record("his", [make(zeb, "his", index, text="marmalade submarine") for index in range(3)])
    for talk in ("hers", "more"):
        registry.record(talk, [make(keeper, talk, index, text="garden shed") for index in range(3)])
    return zeb, keeper


def all_rows(registry: Registry) -> str:
    """Every row, as text."""
    return repr(dump(registry))


def test_undo_of_a_merge_deletes_the_bio_written_after_it(registry: Registry) -> None:
    zeb, keeper = two(registry)
    kept = registry.write_bio(keeper, before=END)
    entry = registry.merge(zeb, keeper)
    registry.write_bio(keeper, before=END)
    registry.undo(entry)
    assert registry.bio_versions(keeper) == (kept,)
    registry.forget(NAME)
    assert "marmalade" not in all_rows(registry)
    assert registry.bio_versions(keeper) == (kept,)


@pytest.mark.parametrize("how", ["forget", "delete"])
def test_erasure_of_split_off_turns_deletes_the_bio_written_before_the_split(
    registry: Registry, how: str
) -> None:
    zeb, keeper = two(registry)
    registry.merge(zeb, keeper)
    registry.write_bio(keeper, before=END)
    _, other = registry.split(keeper, conversations=["his"])
    assert "marmalade" in all_rows(registry)
    assert (registry.forget(other) if how == "forget" else registry.delete_conversation("his")).bios == 1
    assert "marmalade" not in all_rows(registry)
    assert registry.context(keeper, before=END).utterances == 6


def test_erasure_deletes_bios_through_a_chain_of_changes(registry: Registry) -> None:
    zeb, keeper = two(registry)
    registry.write_bio(zeb, before=END)
    entry = registry.merge(zeb, keeper)
    _, first = registry.split(keeper, conversations=["his", "more"])
    _, second = registry.split(first, conversations=["his"])
    registry.forget(second)
    assert "marmalade" not in all_rows(registry)
    registry.forget(first)
    registry.undo(entry)
    assert registry.bio_versions(zeb) == ()
    assert registry.context(keeper, before=END).utterances == 3


def test_a_current_bio_stays_when_the_split_off_half_is_forgotten(registry: Registry) -> None:
    zeb, keeper = two(registry)
    registry.merge(zeb, keeper)
    _, other = registry.split(keeper, conversations=["his"])
    kept = registry.write_bio(keeper, before=END)
    registry.forget(other)
    assert registry.context(keeper, before=END).bio == kept


@pytest.mark.parametrize("change", ["undo", "split", "delete"])
def test_a_bio_is_written_again_if_its_turns_change_meanwhile(registry: Registry, change: str) -> None:
    zeb, keeper = two(registry)
    entry = registry.merge(zeb, keeper)
    changes = {
        "undo": lambda: registry.undo(entry),
        "split": lambda: registry.split(keeper, conversations=["his"]),
        "delete": lambda: registry.delete_conversation("his"),
    }
    seen: list[int] = []

    def write(turns: Sequence[Observation]) -> tuple[Passage, ...]:
        seen.append(len(turns))
        if len(seen) == 1:
            changes[change]()
        return (Passage(" ".join(str(turn.text) for turn in turns), len(turns)),)

    bio = registry.write_bio(keeper, before=END, writer=BioWriter("slow", write))
    assert seen == [9, 6]
    assert "marmalade" not in bio.text


def test_import_skips_bios_that_describe_other_turns(fresh: object) -> None:
    with Registry.open(fresh()) as one, Registry.open(fresh()) as other, Registry.open(fresh()) as third:  # type: ignore[operator]
        zeb, keeper = two(one)
        third.import_lines(list(one.export()))
        one.merge(zeb, keeper)
        one.write_bio(keeper, before=END)
        third.import_lines(list(one.export()))  # in which they are still two people
        one.split(keeper, conversations=["his"])
        other.import_lines(list(one.export()))
        assert other.bio_versions(keeper) == third.bio_versions(keeper) == ()


def test_forget_removes_the_name_that_a_split_off_speaker_shows(registry: Registry) -> None:
    zeb, _ = two(registry)
    registry.record("late", [make(zeb, "late", 0)])
    registry.record("last", [make(zeb, "last", 0)])
    _, other = registry.split(zeb, conversations=["late"])
    _, renamed = registry.split(zeb, conversations=["last"])
    entry = registry.rename(renamed, "Ruth")
    before = list(registry.export())
    registry.forget(NAME)
    assert "Quillfeather" not in all_rows(registry)
    assert registry.find(other).name is None
    assert registry.find("Ruth").speaker_id == renamed
    registry.undo(entry)
    assert registry.find(renamed).name is None
    registry.rename(other, "Other Zeb")
    assert registry.find("other zeb").speaker_id == other
    registry.forget("other zeb")
    registry.import_lines(before)
    assert "quillfeather" not in all_rows(registry).casefold()


def test_import_never_shows_a_forgotten_name(fresh: object) -> None:
    with Registry.open(fresh()) as one, Registry.open(fresh()) as other:  # type: ignore[operator]
        zeb, _ = two(one)
        one.record("late", [make(zeb, "late", 0)])
        other.import_lines(list(one.export()))
        other.forget(NAME)
        _, half = one.split(zeb, conversations=["late"])
        other.import_lines(list(one.export()))
        assert other.find(half).name is None
        assert "quillfeather" not in all_rows(other).casefold()


def test_forgetting_a_split_off_speaker_keeps_the_name_of_the_other(registry: Registry) -> None:
    zeb, _ = two(registry)
    registry.record("late", [make(zeb, "late", 0)])
    _, other = registry.split(zeb, conversations=["late"])
    registry.forget(other)
    assert registry.find(NAME).speaker_id == zeb
    assert registry.find(zeb).name == NAME


@pytest.mark.parametrize(
    ("module", "step"), [(deletion, "delete_speakers"), (files, "finish"), (files, "checkpoint")]
)
def test_interrupted_forget_is_finished_by_the_next_open(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, module: object, step: str
) -> None:
    registry = Registry.open(tmp_path / "s.db")
    live(registry, conversations=2)
    with monkeypatch.context() as patch:

        def crash(*_: object, **__: object) -> None:
            raise KeyboardInterrupt

        patch.setattr(module, step, crash)
        with pytest.raises(KeyboardInterrupt):
            registry.forget(NAME)
    registry._session.store.close()
    with Registry.open(tmp_path / "s.db") as again:
        assert again.resolve(NAME, conversation_id="x").erased
        assert traces(tmp_path) == []
        assert not dump(again)["erasures"]


def test_forget_reports_a_reader_that_holds_old_pages(tmp_path: Path) -> None:
    options = Options(busy_seconds=0.3)
    with (
        Registry.open(tmp_path / "s.db", options=options) as registry,
        Registry.open(tmp_path / "s.db", options=options) as reader,
    ):
        live(registry, conversations=2)
        with reader._session.store.read() as connection:
            connection.exec_driver_sql("SELECT count(*) FROM observations").scalar()
            with pytest.raises(ErasureIncompleteError, match="reading"):
                registry.forget(NAME)
        registry._eraser.resume()
        assert traces(tmp_path) == []


@pytest.mark.parametrize("both", [False, True])
def test_forget_returns_counts_when_another_process_erased_the_rows(
    registry: Registry, address: str, monkeypatch: pytest.MonkeyPatch, both: bool
) -> None:
    zeb, _ = two(registry)
    registry.write_bio(zeb, before=END)
    registry.rename(zeb, OTHER)
    resume = registry._eraser.resume

    def overtaken() -> object:
        with Registry.open(address) as other:  # opening finishes the pending erasure
            if both:
                with other._session.write() as connection:
                    requests.request(connection, other.tenant, [2], now=0.0)
        return resume()

    monkeypatch.setattr(registry._eraser, "resume", overtaken)
    done = registry.forget(zeb)
    assert (done.speakers, done.observations, done.bios, done.audit_entries) == (1, 3, 1, 1)


def test_forgotten_speaker_is_rejected_until_the_name_is_readmitted(registry: Registry) -> None:
    live(registry, conversations=2)
    zeb = meet(registry, NAME)
    held = list(registry.export(NAME))
    registry.forget(NAME)
    with pytest.raises(UnknownSpeakerError):
        registry.context(zeb, before=END)
    assert registry.resolve(NAME.upper(), conversation_id="new").erased
    receipt = registry.record("talk0", [make(zeb, "talk0", 0, text="again")])
    assert (receipt.recorded, receipt.erased) == (0, 1)
    imported = registry.import_lines(held)
    assert (imported.observations, imported.erased) == (0, 12)
    with pytest.raises(NameTakenError):
        registry.rename("Keeper", NAME)
    assert registry.readmit(NAME)
    assert registry.resolve(NAME, conversation_id="new").created


def test_forget_erases_merged_speakers_too(registry: Registry) -> None:
    live(registry, conversations=2)
    live(registry, OTHER, conversations=3)
    registry.merge(OTHER, NAME)
    assert registry.forget(NAME).speakers == 2
    assert registry.resolve(OTHER, conversation_id="x").erased
    text = repr(dump(registry))
    assert "Quillfeather" not in text
    assert "marmalade" not in text


def test_forgetting_a_generic_name_affects_one_conversation(registry: Registry) -> None:
    meet(registry, "user", "a")
    meet(registry, "user", "b")
    registry.forget("user", conversation_id="a")
    assert registry.resolve("user", conversation_id="a").erased
    assert not registry.resolve("user", conversation_id="b").erased


def test_tombstones_are_digests_that_differ_between_stores(fresh: object) -> None:
    kept = []
    for _ in range(2):
        with Registry.open(fresh()) as registry:  # type: ignore[operator]
            meet(registry, NAME)
            registry.forget(NAME)
            kept.append({row[1] for row in dump(registry)["tombstones"]})
    assert kept[0].isdisjoint(kept[1])
    assert all(len(str(digest)) == 64 for digest in kept[0])


def test_export_and_import_give_the_same_memory(fresh: object, clock: Clock) -> None:
    with Registry.open(fresh(), clock=clock) as one, Registry.open(fresh(), clock=clock) as other:  # type: ignore[operator]
        live(one, conversations=3)
        live(one, OTHER, conversations=5)
        one.merge(OTHER, NAME)
        zeb = meet(one, NAME)
        one.write_bio(zeb, before=END, embed=lambda texts: vectors(len(texts), 2), embedder=EMBEDDER)
        lines = list(one.export())
        receipt = other.import_lines(lines)
        assert (receipt.speakers, receipt.observations, receipt.warnings) == (2, 60, ())
        for speaker in one.speakers():
            assert other.find(speaker.speaker_id) == speaker
            assert other.context(speaker.speaker_id, before=END, limit=99) == one.context(
                speaker.speaker_id, before=END, limit=99
            )
        assert meet(other, OTHER) == zeb
        query = vectors(1, 77)[0]
        found = [
            [
                hit.observation.utterance_id
                for hit in store.recall(query, speaker=zeb, before=END, k=9).observations
            ]
            for store in (one, other)
        ]
        assert found[0] == found[1]
        again = other.import_lines(lines)
        assert (again.speakers, again.observations, again.known) == (0, 0, 60)


def test_export_of_a_person_has_only_their_data(registry: Registry) -> None:
    live(registry, conversations=2)
    lines = [json.loads(line) for line in registry.export(NAME)]
    assert {line["kind"] for line in lines} >= {"memory", "speaker", "observation"}
    assert sum(line["kind"] == "observation" for line in lines) == 12
    assert "something else" not in repr(lines)
    assert "Keeper" not in repr(lines)


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("{", "import:2: not a JSON"),
        ('{"kind": "memory", "version": 99}', "import:2: export version 99"),
        ('{"kind": "cake"}', "import:2: unknown kind"),
        ('{"kind": "observation", "speaker_id": "x"}', "import:2: speaker 'x' has no line"),
        ('{"kind": "speaker"}', "import:2: a damaged speaker line"),
        ("[1]", "import:2: a line of an export"),
    ],
)
def test_import_error_names_the_line_and_nothing_is_stored(registry: Registry, line: str, words: str) -> None:
    good = '{"kind": "conversation", "conversation_id": "c", "sequence": 1, "time": 5.0}'
    before = dump(registry)
    with pytest.raises(InvalidRecordError, match=words):
        registry.import_lines([good, line])
    assert dump(registry) == before


@pytest.mark.parametrize(
    ("kind", "change", "words"),
    [
        ("observation", {"index": 1.5}, "index=1.5"),
        ("observation", {"index": 0}, "turn 0 is"),
        ("observation", {"uncertainty": {"total": 1e999, "aleatoric": 0.0, "epistemic": 0.0}}, "not finite"),
        ("observation", {"timestamp": "noon"}, "damaged"),
        ("speaker", {"speaker_id": "spk_\x1b[31m"}, "26 characters"),
        ("speaker", {"name": "A" * 900}, "characters"),
        ("conversation", {"conversation_id": "a\x00b"}, "NUL"),
        ("bio", {"version": 1.5}, "whole numbers"),
    ],
)
def test_import_rejects_what_record_rejects(
    fresh: object, kind: str, change: dict[str, object], words: str
) -> None:
    with Registry.open(fresh()) as one, Registry.open(fresh()) as other:  # type: ignore[operator]
        zeb, _ = two(one)
        one.write_bio(zeb, before=END)
        lines = [json.loads(line) for line in one.export()]
        before = dump(other)
        with pytest.raises(InvalidRecordError, match=words):
            other.import_lines(json.dumps(line | change if line["kind"] == kind else line) for line in lines)
        assert dump(other) == before


def test_import_shows_names_and_orders_turns_as_record_does(fresh: object) -> None:
    with Registry.open(fresh()) as one, Registry.open(fresh()) as other:  # type: ignore[operator]
        zeb, _ = two(one)
        lines = [json.loads(line) for line in one.export(zeb)]
        for line in lines:
            if line["kind"] == "speaker":
                line["name"] = line["aliases"][0]["name"] = "Zeb\x1b[31m\u202e"
            if line["kind"] == "observation" and line["index"] == 2:
                line["time"] = 0.0  # before the turns it follows
        other.import_lines(map(json.dumps, lines))
        assert (other.find(zeb).name, other.find(zeb).aliases) == ("Zeb[31m", ())
        assert [one.index for one in other.context(zeb, before=END).observations] == [0, 1, 2]


def test_import_keeps_two_people_of_one_name_separate_with_a_warning(fresh: object) -> None:
    with Registry.open(fresh()) as one, Registry.open(fresh()) as other:  # type: ignore[operator]
        live(one, conversations=1)
        here = meet(other, NAME)
        receipt = other.import_lines(one.export(NAME))
        assert "two speakers" in receipt.warnings[0]
        assert other.context(here, before=END).utterances == 0
        assert len(other.speakers()) == 2


def test_no_text_policy_stores_no_words(tmp_path: Path) -> None:
    options = Options(policy=Policy(text=False))
    with Registry.open(tmp_path / "s.db", options=options) as registry:
        live(registry, conversations=2)
        registry.write_bio(meet(registry, NAME), before=END)
        found = traces(tmp_path, conversations=2)
        assert not [one for one in found if WORDS in one]
    with Registry.open(tmp_path / "s.db") as again:  # the policy is stored with the tenant
        assert not again.tenant.keeps_text
    with pytest.raises(PolicyMismatchError, match="keeps_text"):
        Registry.open(tmp_path / "s.db", options=Options(policy=Policy(text=True)))


def test_pseudonymous_policy_stores_no_names(tmp_path: Path) -> None:
    options = Options(policy=Policy(pseudonymous=True))
    with Registry.open(tmp_path / "s.db", options=options) as registry:
        zeb = meet(registry, NAME)
        assert meet(registry, NAME.upper()) == zeb
        assert registry.resolve(
            "Zebedee Quillfeаther", conversation_id="x"
        ).warnings  # about the Cyrillic letter
        registry.rename(NAME, OTHER)
        assert meet(registry, OTHER) == zeb
        assert traces(tmp_path, conversations=1, turns=1) == []
        registry.forget(OTHER)
        assert registry.resolve(NAME, conversation_id="x").erased


def test_readmitted_name_gets_another_id_in_a_pseudonymous_memory(fresh: object) -> None:
    options = Options(policy=Policy(pseudonymous=True))
    with Registry.open(fresh(), options=options) as registry:  # type: ignore[operator]
        first, _ = two(registry)
        old = list(registry.export(first))
        registry.forget(NAME)
        registry.readmit(NAME)
        second = meet(registry, NAME)
        assert second != first
        registry.record("new", [make(second, "new", 0)])
        kept = list(registry.export(second))
        registry.delete_conversation("new")
        assert (registry.import_lines(kept).observations, registry.import_lines(old).erased) == (1, 3)
        assert meet(registry, NAME) == second


def test_expire_erases_old_conversations(fresh: object, clock: Clock) -> None:
    options = Options(policy=Policy(retention_days=30))
    with Registry.open(fresh(), clock=clock, options=options) as registry:  # type: ignore[operator]
        live(registry, conversations=1)
        clock.now += 20 * 86_400
        ana = meet(registry, "Ana", "new")
        registry.record("new", [make(ana, "new", 0, timestamp=1.0)])
        clock.now += 11 * 86_400
        assert registry.expire().observations == 12
        assert registry.context(ana, before=END).utterances == 1
        assert [one.name for one in registry.speakers()] == ["Ana"]


@pytest.mark.parametrize("days", [-1, 0, 0.5, float("nan"), float("inf")])
def test_retention_below_a_day_or_not_finite_is_rejected(days: float) -> None:
    with pytest.raises(InvalidPolicyError, match="at least 1"):
        Policy(retention_days=days)
