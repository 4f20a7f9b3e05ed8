"""The identity of speakers: names, scopes, warnings, and changes that can be undone."""

from __future__ import annotations

import pytest
from speakers_support import dump, make, meet

from speakers import END, NameMap, Registry
from speakers.errors import InvalidRecordError, NameTakenError, NotReversibleError, UnknownSpeakerError

LOGGED = ("audit",)


def test_resolve_finds_the_same_speaker_in_another_conversation(registry: Registry) -> None:
    first = registry.resolve("José", conversation_id="a")
    again = registry.resolve("JOSE\u0301", conversation_id="b")
    assert (first.created, again.created) == (True, False)
    assert first.speaker == again.speaker


def test_ids_are_opaque(registry: Registry) -> None:
    speaker = meet(registry, "Ana")
    assert len(speaker) == 30
    assert speaker.startswith("spk_")


@pytest.mark.parametrize("name", ["SPEAKER_00", "user", "ALL", "Speaker 1"])
def test_resolve_binds_generic_names_to_their_conversation(registry: Registry, name: str) -> None:
    assert meet(registry, name, "a") == meet(registry, name, "a")
    assert meet(registry, name, "a") != meet(registry, name, "b")


def test_mapping_resolves_generic_names_to_people(registry: Registry) -> None:
    names = NameMap.of({"Monica Geller": ["Mon"], "conversations": {"a": {"SPEAKER_00": "Monica Geller"}}})
    first = registry.resolve("SPEAKER_00", conversation_id="a", mapping=names).speaker
    second = registry.resolve("mon", conversation_id="b", mapping=names).speaker
    assert first == second
    assert first is not None
    assert (first.name, first.scope) == ("Monica Geller", None)


def test_resolve_of_several_names_returns_the_first(registry: Registry) -> None:
    monica = meet(registry, "Monica")
    assert meet(registry, "Monica & Rachel") == monica
    assert registry.resolve(["Monica", "Rachel"], conversation_id="x").speaker == registry.find("Monica")
    assert len(registry.speakers()) == 1


@pytest.mark.parametrize("twin", ["Аna", "Anа"])
def test_resolve_of_a_lookalike_warns_and_creates_another_speaker(registry: Registry, twin: str) -> None:
    ana = meet(registry, "Ana")
    found = registry.resolve(twin, conversation_id="hall")
    assert found.speaker is not None
    assert found.speaker.speaker_id != ana
    assert any(ana in warning for warning in found.warnings)


def test_resolve_warns_about_invisible_characters(registry: Registry) -> None:
    meet(registry, "Ana")
    found = registry.resolve("A\u200bna", conversation_id="hall")
    assert not found.created
    assert "U+200B" in found.warnings[0]


def test_rename_keeps_the_old_name_as_an_alias(registry: Registry) -> None:
    ana = meet(registry, "Ana")
    registry.rename("Ana", "Anna Lind")
    found = registry.find("ana")
    assert (found.speaker_id, found.name, found.aliases) == (ana, "Anna Lind", ("Ana",))


def test_rename_and_alias_reject_a_taken_name(registry: Registry) -> None:
    meet(registry, "Ana")
    bo = meet(registry, "Bo")
    with pytest.raises(NameTakenError, match="merge"):
        registry.rename(bo, "ANA")
    with pytest.raises(NameTakenError):
        registry.alias(bo, "Ana")


def test_merge_moves_turns_and_names_to_the_target(registry: Registry) -> None:
    ana, mon = meet(registry, "Ana"), meet(registry, "Mon")
    registry.record("c", [make(ana, "c", 0), make(mon, "c", 1)])
    registry.merge("Mon", "Ana")
    assert meet(registry, "mon") == ana
    assert registry.context(ana, before=END).utterances == 2
    assert registry.context(mon, before=END).speaker == ana
    registry.record("d", [make(mon, "d", 0)])
    assert registry.context(ana, before=END).utterances == 3
    with pytest.raises(InvalidRecordError):
        registry.merge("Mon", "Ana")


@pytest.mark.parametrize("change", ["merge", "split", "named split", "rename", "alias"])
def test_undo_restores_every_row_exactly(registry: Registry, change: str) -> None:
    ana, bo = meet(registry, "Ana"), meet(registry, "Bo")
    registry.record("c", [make(ana if index % 2 else bo, "c", index, text=f"{index}") for index in range(6)])
    registry.record("d", [make(ana, "d", 0)])
    registry.write_bio(ana, before=END)
    before = dump(registry, without=LOGGED)
    changes = {
        "merge": lambda: registry.merge(bo, ana),
        "split": lambda: registry.split(ana, conversations=["c"])[0],
        "named split": lambda: registry.split(ana, utterances=[("c", "c-1"), ("d", "d-0")], name="Anna")[0],
        "rename": lambda: registry.rename(ana, "Anna"),
        "alias": lambda: registry.alias(ana, "Annie"),
    }
    entry = changes[change]()
    assert dump(registry, without=LOGGED) != before
    registry.undo(entry)
    assert dump(registry, without=LOGGED) == before
    assert [one.action for one in registry.log(ana)][-1] == "undo"


def test_undo_rejects_entries_covered_undone_or_unknown(registry: Registry) -> None:
    ana, bo = meet(registry, "Ana"), meet(registry, "Bo")
    merged = registry.merge(bo, ana)
    renamed = registry.rename(ana, "Anna")
    with pytest.raises(NotReversibleError, match=str(renamed)):
        registry.undo(merged)
    registry.undo(renamed)
    registry.undo(merged)
    with pytest.raises(NotReversibleError, match="undone"):
        registry.undo(merged)
    with pytest.raises(NotReversibleError):
        registry.undo(9999)


def test_turns_recorded_after_a_merge_stay_with_the_target(registry: Registry) -> None:
    ana, bo = meet(registry, "Ana"), meet(registry, "Bo")
    entry = registry.merge(bo, ana)
    registry.record("c", [make(bo, "c", 0)])
    registry.undo(entry)
    assert registry.context(ana, before=END).utterances == 1
    assert registry.context(bo, before=END).utterances == 0


def test_split_moves_the_named_turns(registry: Registry) -> None:
    ana = meet(registry, "Ana")
    registry.record("c", [make(ana, "c", 0), make(ana, "c", 1)])
    registry.record("d", [make(ana, "d", 0)])
    _, other = registry.split("Ana", conversations=["d"], utterances=[("c", "c-1")], name="Other Ana")
    assert registry.context(ana, before=END).utterances == 1
    assert registry.context(other, before=END).utterances == 2
    assert meet(registry, "other ana") == other
    with pytest.raises(InvalidRecordError):
        registry.split("Ana", conversations=["nowhere"])


def test_split_accepts_over_a_thousand_utterances_and_conversations(registry: Registry) -> None:
    ana = meet(registry, "Ana")
    registry.record("c", [make(ana, "c", index) for index in range(1300)])
    registry.record("d", [make(ana, "d", 0)])
    nowhere = [f"nowhere{number}" for number in range(1200)]
    entry, other = registry.split(
        ana, conversations=[*nowhere, "d"], utterances=[("c", f"c-{index}") for index in range(1200)]
    )
    assert (registry.context(ana, before=END).utterances, registry.context(other, before=END).utterances) == (
        100,
        1201,
    )
    registry.undo(entry)
    assert registry.context(ana, before=END).utterances == 1301


def test_find_rejects_an_unknown_speaker(registry: Registry) -> None:
    with pytest.raises(UnknownSpeakerError, match="list"):
        registry.find("Nobody")


def test_resolve_all_equals_resolve_and_creates_each_person_once(registry: Registry) -> None:
    made = registry.resolve_all(["Ana", "SPEAKER_00", ["Ana", "Ben"], "ana"], conversation_id="talk")
    assert [one.created for one in made] == [True, True, False, False]
    assert made[0].speaker == made[2].speaker == made[3].speaker
    again = registry.resolve_all(["Ana", "SPEAKER_00", ["Ana", "Ben"], "ana"], conversation_id="talk")
    assert again == tuple(
        registry.resolve(name, conversation_id="talk")
        for name in ("Ana", "SPEAKER_00", ["Ana", "Ben"], "ana")
    )
    assert len(registry.speakers()) == 2


def test_error_for_a_bound_name_lists_its_conversations(registry: Registry) -> None:
    for conversation in ("c1", "c2", "c3", "c4"):
        meet(registry, "SPEAKER_00", conversation)
    meet(registry, "Ana")
    for conversation in (None, "c9"):
        with pytest.raises(UnknownSpeakerError, match=r"'c1', 'c2', 'c3' and 1 more\): add --conversation"):
            registry.find("SPEAKER_00", conversation_id=conversation)
    with pytest.raises(UnknownSpeakerError, match="omit --conversation"):
        registry.find("Ana", conversation_id="c1")
    with pytest.raises(UnknownSpeakerError, match="no speaker is called 'Bo'; 'erc speakers list'"):
        registry.find("Bo")
