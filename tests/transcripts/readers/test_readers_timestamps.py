"""Dates at the start of lines: chat exports, and logs with ISO dates."""

import io

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from erc.transcripts import read_transcript, sniff
from erc.transcripts.readers.timestamps import take_stamp


def read(text):
    return read_transcript(io.BytesIO(text.encode()), format="text", name="chat.txt")


def turns(transcript):
    return [(u.timestamp, u.speaker, u.text) for c in transcript.conversations for u in c]


@pytest.mark.parametrize(
    ("prefix", "moment"),
    [
        ("2024-05-13 10:01:00 ", "2024-05-13T10:01:00"),
        ("2024-05-13T10:01:00.250Z ", "2024-05-13T10:01:00.250000+00:00"),
        ("[2024-05-13 10:01+02:00] ", "2024-05-13T10:01:00+02:00"),
        ("2024/05/13 10:01 | ", "2024-05-13T10:01:00"),
        ("[13/05/2024, 10:01:00] ", "2024-05-13T10:01:00"),
        ("\u200e[13/05/24, 10:01:00\u202fPM] ", "2024-05-13T22:01:00"),
        ("13/05/2024, 10:01 - ", "2024-05-13T10:01:00"),
        ("13/5/24 12:01 a. m. - ", "2024-05-13T00:01:00"),
        ("13.05.24, 10:01 - ", "2024-05-13T10:01:00"),
        ("5/13/24, 12:01 pm - ", "2024-05-13T12:01:00"),
        ("[13-05-99 10.01.30] ", "1999-05-13T10:01:30"),
    ],
)
def test_stamp_before_a_name_becomes_the_timestamp(prefix, moment):
    transcript = read(f"{prefix}Ana: hi\nand more\n{prefix}Ben (low): no\n")
    assert turns(transcript) == [(moment, "Ana", "hi and more"), (moment, "Ben", "no")]
    assert (transcript.problems, transcript.notes) == ((), ())


@pytest.mark.parametrize(
    "line",
    [
        "2024-13-45 10:01 Ana: hi",
        "2024-05-01 25:01 Ana: hi",
        "2024-05-01 Ana: hi",
        "99/99/2024, 10:00 - a: b",
        "1/5: so",
    ],
)
def test_stamp_of_an_invalid_date_is_none(line):
    assert take_stamp(line) is None


def test_stamp_after_a_line_without_one_begins_a_turn():
    found = turns(read("Ana: hi\n2024-05-01 10:01:00 Bob: yo\n"))
    assert found == [(None, "Ana", "hi"), ("2024-05-01T10:01:00", "Bob", "yo")]


def test_line_without_a_stamp_continues_a_message():
    text = (
        "[13/05/2024, 10:00:00] Ana: hi\nPS: bring wine\n\nPS: and bread\n"
        "[13/05/2024, 10:01:00] Bob: yo\n[13/05/2024, 10:02:00] Ana: ok\n"
    )
    transcript = read(text)
    assert [(name, words) for _, name, words in turns(transcript)] == [
        ("Ana", "hi PS: bring wine PS: and bread"),
        ("Bob", "yo"),
        ("Ana", "ok"),
    ]
    assert len(transcript.notes) == 1
    assert "2 line(s) with a name but no date" in transcript.notes[0]
    assert "line 2 ('PS')" in transcript.notes[0]


def test_stamp_before_few_lines_keeps_speakers_of_undated_lines():
    assert [name for _, name, _ in turns(read("2024-05-01 10:00 Ana: hi\nBob: yo\nAna: ok\n"))] == [
        "Ana",
        "Bob",
        "Ana",
    ]


def test_stamp_without_a_sender_is_skipped_with_one_note():
    text = (
        "13/05/2024, 09:59 - Messages are end-to-end encrypted.\nTap to learn more.\n"
        "13/05/2024, 10:00 - Ana: hi\n"
        "13/05/2024, 10:01 - Ana changed the subject from “A” to “B: c”\n13/05/2024, 10:02 - Bob: yo\n"
    )
    transcript = read(text)
    assert [(name, words) for _, name, words in turns(transcript)] == [("Ana", "hi"), ("Bob", "yo")]
    assert (transcript.problems, transcript.notes) == (
        (),
        ("2 dated line(s) name no sender and are skipped, the first is line 1",),
    )


def test_stamp_in_a_file_without_dated_turns_is_text():
    assert turns(read("Ana: we met on\n2024-05-01 10:00 and it was good\n")) == [
        (None, "Ana", "we met on 2024-05-01 10:00 and it was good")
    ]


@pytest.mark.parametrize(
    ("dates", "first", "told"),
    [
        (("01/05/24", "02/05/24"), "2024-05-01", True),
        (("01/05/24", "13/05/24"), "2024-05-01", False),
        (("01/05/24", "01/13/24"), "2024-01-05", False),
        (
            ("05/01/24", "05/12/24", "06/01/24"),
            "2024-05-01",
            True,
        ),  # with the day first, the last date would precede the second
        (("05/05/24", "06/06/24"), "2024-05-05", False),
        (("01.05.24", "02.05.24"), "2024-05-01", False),
    ],
)
def test_stamp_has_the_day_first_unless_the_file_shows_otherwise(dates, first, told):
    transcript = read("".join(f"[{date}, 10:00] Ana: hi\n" for date in dates))
    assert turns(transcript)[0][0] == f"{first}T10:00:00"
    assert [dates[0] in note and first in note for note in transcript.notes] == [True] * told


@pytest.mark.parametrize(
    ("written", "name"),
    [("~\u202fAna B", "Ana B"), ("\u202a+55 11 91234-5678\u202c", "+55 11 91234-5678"), ("🙂", "🙂")],
)
def test_stamp_precedes_names_as_chat_programs_write_them(written, name):
    assert turns(read(f"13/05/2024, 10:00 - {written}: \u200ehi\n")) == [("2024-05-13T10:00:00", name, "hi")]


@pytest.mark.parametrize("filename", [None, "chat.txt"])
def test_sniff_recognises_an_export_whose_text_looks_like_a_header(filename):
    assert (
        sniff(b"[13/05/2024, 10:00:00] Ana: speaker, text\n[13/05/2024, 10:00:01] Ben: no\n", filename).format
        == "text"
    )


NAMES = st.sampled_from(["Ana", "ana maria de souza lima", "PS", "Ben & Co", "+49 170 1234567"])
STAMPS = st.sampled_from(
    [
        "2024-05-01 10:01:00 ",
        "[13/05/2024, 10:01:00] ",
        "\u200e[5/13/24, 1:01:00\u202fAM] ",
        "13.05.24, 10:01 - ",
    ]
)
WORDS = st.sampled_from(["hi", "", "PS: more", "http://x.org: it", "see 12:30", "\u200e<Media omitted>"])


@settings(deadline=None, max_examples=80)
@given(st.lists(st.tuples(st.none() | STAMPS, NAMES, WORDS), max_size=12))
def test_stamp_and_name_always_begin_a_turn(lines):
    text = "Start: now\n" + "".join(
        f"{name}: {words}\n" if stamp is None else f"{stamp}{name}: {words}\n" for stamp, name, words in lines
    )
    begun = {u.meta["line"] for c in read(text).conversations for u in c}
    empty = {number for number, (_, _, words) in enumerate(lines, start=2) if not words}
    assert {
        number for number, (stamp, _, _) in enumerate(lines, start=2) if stamp is not None
    } <= begun | empty


@pytest.mark.parametrize("date", ["[32/13/2024, 09:16:00]", "[14/03/2024, 25:61:00]", "2024-13-45 10:01 -"])
def test_damaged_stamp_is_reported_and_its_line_begins_a_turn(date):
    transcript = read(
        f"[14/03/2024, 09:15:00] Ana: one\n{date} Ben: two\nPS: three\n[14/03/2024, 09:17:00] Ana: four\n"
    )
    assert turns(transcript) == [
        ("2024-03-14T09:15:00", "Ana", "one"),
        (None, "Ben", "two PS: three"),
        ("2024-03-14T09:17:00", "Ana", "four"),
    ]
    assert [(problem.line, "is not a valid date" in problem.message) for problem in transcript.problems] == [
        (2, True)
    ]


def test_damaged_stamp_without_a_name_is_part_of_the_message():
    assert turns(read("[14/03/2024, 09:15:00] Ana: one\n[32/13/2024, 09:16:00] and so\n")) == [
        ("2024-03-14T09:15:00", "Ana", "one [32/13/2024, 09:16:00] and so")
    ]


def test_stamp_before_a_name_without_white_space_after_its_colon_begins_a_turn():
    transcript = read("[14/03/2024, 09:15:00] Ana: one\n[14/03/2024, 09:16:00] Ben:two of them\n")
    assert [(name, words) for _, name, words in turns(transcript)] == [("Ana", "one"), ("Ben", "two of them")]
    assert transcript.notes == ()
