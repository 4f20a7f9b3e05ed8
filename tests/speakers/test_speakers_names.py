"""Comparison and classification of names."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from speakers.errors import InvalidRecordError
from speakers.names import NameKind, display, hidden_characters, kind, normalise, owners, skeleton


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("José", "Jose\u0301"),
        ("ＡＮＡ", "ana"),
        ("Straße", "STRASSE"),
        ("ﬁona", "Fiona"),
        ("A\u200bna", "Ana"),
        ("\u202eAna", "ana"),
        (" Ana  B ", "ana b"),
        ("Ana Silva (she/her)", "Ana Silva"),
        ("Ana Silva (She / They)", "Ana Silva"),
        ("Ana Silva [they/them]", "Ana Silva"),
        ("Ana Silva(he/him/his)", "Ana Silva"),
        ("Ana Silva (ela/dela) ", "Ana Silva"),
    ],
)
def test_normalise_maps_spellings_of_one_name_to_one_form(one: str, other: str) -> None:
    assert normalise(one) == normalise(other)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("Аna", "Ana"),
        ("Jose", "José"),
        ("Ana", "Anna"),
        ("Οlga", "Olga"),
        ("Ana (host)", "Ana"),
        ("Ana (she)", "Ana"),
    ],
)
def test_normalise_keeps_different_names_different(one: str, other: str) -> None:
    assert normalise(one) != normalise(other)


@given(st.text(max_size=40))
@settings(deadline=None)
def test_normalise_twice_changes_nothing(name: str) -> None:
    try:
        once = normalise(name)
    except InvalidRecordError:
        return
    assert normalise(once) == once


@pytest.mark.parametrize("name", ["", "  ", "\u200b", "a\x00b", "\ud800", "x" * 201, "\ufdfa" * 60])
def test_normalise_rejects_invalid_names(name: str) -> None:
    with pytest.raises(InvalidRecordError):
        normalise(name)


@pytest.mark.parametrize(
    ("one", "other"),
    [("Аnа", "Ana"), ("Іris", "lris"), ("B0b", "Bob"), ("Οlga", "Olga"), ("Modem", "Modern")],
)
def test_skeleton_is_equal_for_lookalikes(one: str, other: str) -> None:
    assert skeleton(one) == skeleton(other)


def test_skeleton_keeps_accents() -> None:
    assert skeleton("José") != skeleton("Jose")


def test_display_removes_control_and_direction_characters() -> None:
    assert display("A\u202ena\x1b[2J\n B") == "Ana[2J B"


def test_hidden_characters_are_returned_as_code_points() -> None:
    assert hidden_characters("A\u200bn\u202ea") == ("U+200B", "U+202E")


@pytest.mark.parametrize(
    "name",
    [
        "SPEAKER_00",
        "speaker 1",
        "Speaker A",
        "user",
        "Agent",
        "S1",
        "spk-2",
        "Unknown Speaker",
        "7",
        "[Guest 3]",
    ],
)
def test_kind_recognises_generic_names(name: str) -> None:
    assert kind(name) is NameKind.GENERIC


@pytest.mark.parametrize("name", ["ALL", "Everyone", "both", "The Gang"])
def test_kind_recognises_collective_names(name: str) -> None:
    assert kind(name) is NameKind.COLLECTIVE


@pytest.mark.parametrize("name", ["Ana", "Su", "Agent Smith", "Allie", "Manfred", "Userine", "S. Geller"])
def test_kind_of_a_personal_name_is_person(name: str) -> None:
    assert kind(name) is NameKind.PERSON


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        ("Monica & Rachel", ("Monica", "Rachel")),
        ("Monica and Rachel", ("Monica", "Rachel")),
        ("Ross / Chandler", ("Ross", "Chandler")),
        ("Ross; Chandler", ("Ross", "Chandler")),
        ("Joey and Ross", ("Joey", "Ross")),
        ("Joey/Drake", ("Joey/Drake",)),
        ("ACME/ana", ("ACME/ana",)),
        ("R&D Team", ("R&D Team",)),
        ("24/7 Support", ("24/7 Support",)),
        ("n/a", ("n/a",)),
        ("Johnson & Johnson", ("Johnson & Johnson",)),
        ("Mr. & Mrs. Smith", ("Mr. & Mrs. Smith",)),
        ("Ana (Sales & Support, north)", ("Ana (Sales & Support, north)",)),
        ("Ana (Sales; north) & Ben [a / b]", ("Ana (Sales; north)", "Ben [a / b]")),
        ("Ana Silva (she/her)", ("Ana Silva (she/her)",)),
        ("Monica, Rachel and Ross", ("Monica", "Rachel", "Ross")),
        ("Geller, Monica", ("Geller, Monica",)),
        ("Andrea", ("Andrea",)),
        (["Ross", "Ana"], ("Ross", "Ana")),
    ],
)
def test_owners_returns_the_names_in_order(written: str | list[str], expected: tuple[str, ...]) -> None:
    assert owners(written) == expected
