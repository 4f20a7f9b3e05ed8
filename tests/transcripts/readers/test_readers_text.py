import io

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from erc.errors import InputError
from erc.transcripts import read_transcript
from erc.transcripts.formats import input_formats


def turns(text, **options):
    data = text if isinstance(text, bytes) else text.encode()
    transcript = read_transcript(io.BytesIO(data), format="text", name="talk.txt", **options)
    return [(u.speaker, u.text) for c in transcript.conversations for u in c], transcript


def test_plain_continuation_lines_join_the_turn_above():
    assert turns("Ana: one\n  two\n\nthree\nBen: four\n")[0] == [("Ana", "one two three"), ("Ben", "four")]


def test_plain_aside_is_separated_from_the_name():
    found, transcript = turns("Ana (quietly): hm\n")
    assert found == [("Ana", "hm")]
    assert transcript.conversations[0].utterances[0].meta["aside"] == "quietly"


def test_plain_diarisation_label_loses_its_brackets():
    assert turns("[SPEAKER_00]: yes\n[SPEAKER_01]: no\n")[0] == [("SPEAKER_00", "yes"), ("SPEAKER_01", "no")]


@pytest.mark.parametrize(
    "line",
    [
        "http://example.org is down",
        "12:30 is fine",
        "see https: or so",
        "so there is one thing I want: quiet",
    ],
)
def test_plain_urls_and_times_are_not_speakers(line):
    assert turns(f"Ana: hi\n{line}\n")[0] == [("Ana", f"hi {line}")]


def test_plain_recurring_lower_case_names_are_speakers():
    assert turns("ana: a\nben: b\nana: c\nben: d\n")[0] == [
        ("ana", "a"),
        ("ben", "b"),
        ("ana", "c"),
        ("ben", "d"),
    ]


def test_plain_right_to_left_name_loses_its_direction_marks():
    assert turns("\u200fדנה\u200f: שלום\nAna: hi\n")[0] == [("דנה", "שלום"), ("Ana", "hi")]


def test_plain_leading_clock_with_hours_becomes_the_start():
    _, transcript = turns("[00:01:02.5] Ana: hi\n")
    assert transcript.conversations[0].utterances[0].start == 62.5


def test_plain_ids_count_from_zero_and_contain_the_file_stem():
    _, transcript = turns("Ana: hi\n" * 8)
    assert transcript.conversations[0].utterances[7].utterance_id == "talk-0007"


def test_plain_line_before_the_first_speaker_is_reported_with_its_number():
    found, transcript = turns("minutes of monday\nAna: hi\n")
    assert found == [("Ana", "hi")]
    assert [(p.path, p.line) for p in transcript.problems] == [("talk.txt", 1)]


def test_plain_strict_rejects_the_first_problem():
    with pytest.raises(InputError, match=r"talk\.txt:1"):
        turns("minutes of monday\nAna: hi\n", strict=True)


def test_plain_turn_of_200000_characters_is_kept_whole():
    assert turns("Ana: " + "x" * 200_000)[0] == [("Ana", "x" * 200_000)]


def test_plain_nul_becomes_the_replacement_character_with_a_problem():
    found, transcript = turns(b"Ana: a\0b and more of it\n")
    assert found == [("Ana", "a\ufffdb and more of it")]
    assert len(transcript.problems) == 1


def test_plain_5000_turns_are_all_read():
    assert len(turns("".join(f"Ana: turn {n}\nBen: reply {n}\n" for n in range(2500)))[0]) == 5000


@settings(deadline=None, max_examples=60)
@given(
    st.sampled_from(sorted(entry.name for entry in input_formats())),
    st.text(alphabet=st.characters(codec=None) | st.sampled_from(":\n\r\"',;{}[]()<>-.0123"), max_size=300),
)
def test_any_text_raises_only_input_error(format, text):
    try:
        transcript = read_transcript(io.BytesIO(text.encode("utf-8", "surrogatepass")), format=format)
    except InputError:
        return
    for conversation in transcript.conversations:
        for utterance in conversation:
            (utterance.text + utterance.speaker).encode()


@settings(deadline=None, max_examples=60)
@given(st.binary(max_size=300))
def test_any_bytes_raise_only_input_error(data):
    try:
        transcript = read_transcript(io.BytesIO(data))
    except InputError:
        return
    assert transcript.turns > 0


def test_plain_line_with_a_possible_speaker_is_reported():
    found, transcript = turns("Ana: hi there\nben: go away!\nsee http://x.org: it is all there\nAna: why?\n")
    assert found == [("Ana", "hi there ben: go away! see http://x.org: it is all there"), ("Ana", "why?")]
    [note] = transcript.notes
    assert "1 line(s)" in note
    assert "line 2 ('ben')" in note


def test_plain_possible_speaker_alone_on_its_line_is_reported():
    found, transcript = turns("Ana:\nhi there\nben:\ngo away!\n")
    assert found == [("Ana", "hi there ben: go away!")]
    assert "line 3 ('ben')" in transcript.notes[0]


def test_plain_lower_case_name_in_square_brackets_is_a_speaker():
    found, transcript = turns("Ana: hi there\n[ben]: go away!\n")
    assert (found, transcript.notes) == ([("Ana", "hi there"), ("ben", "go away!")], ())


@pytest.mark.parametrize("name", ["🙂", "🙂 🐈", "👍🏽", "🇧🇷", "👩\u200d⚕\ufe0f"])
def test_plain_name_of_emoji_alone_is_a_speaker(name):
    assert turns(f"Ana: hi\n{name}: go away!\nAna: why?\n")[0] == [
        ("Ana", "hi"),
        (name, "go away!"),
        ("Ana", "why?"),
    ]


@pytest.mark.parametrize(
    "line", ["🙂 go away!", "🙂:o", "→: see below", "●: first", "☎: 555 1234", "12 🍎: cheap", ":🙂: so"]
)
def test_plain_symbols_and_smileys_are_not_speakers(line):
    assert turns(f"Ana: hi\n{line}\n")[0] == [("Ana", f"hi {line}")]


def test_plain_text_without_possible_speakers_has_no_note():
    assert turns("Ana: hi there\nand more of it\nBen: go: away\n")[1].notes == ()


@pytest.mark.parametrize(
    ("line", "name", "text"),
    [
        ("Ben:I am angry", "Ben", "I am angry"),
        ("Ben:“so”", "Ben", "“so”"),
        ("ana:still me", "ana", "still me"),
        ("**Ben:** angry", "Ben", "angry"),
        ("**Ben**: angry", "Ben", "angry"),
        ("__Ben:__ angry", "Ben", "angry"),
        ("*Ben:* angry", "Ben", "angry"),
        ("speaker 2: two", "speaker 2", "two"),
        ("00:01:02 Ben: late", "Ben", "late"),
        ("00:01:02 - Ben: late", "Ben", "late"),
        ("00:01:02 **Ben:** late", "Ben", "late"),
        ("10:30 Ana: again", "Ana", "again"),
    ],
)
def test_plain_line_with_a_clear_speaker_begins_a_turn(line, name, text):
    found, transcript = turns(f"Ana: hi there\n{line}\nAna: bye\n")
    assert (found, transcript.notes) == ([("Ana", "hi there"), (name, text), ("Ana", "bye")], ())


def test_plain_file_without_white_space_after_colons_is_read():
    assert turns("Ana:hi there\nBen:I am angry\nCarla:no\n")[0] == [
        ("Ana", "hi there"),
        ("Ben", "I am angry"),
        ("Carla", "no"),
    ]


@pytest.mark.parametrize(
    ("clock", "start"), [("(00:01:05)", 65.0), ("[00:01:05.5]", 65.5), ("00:01:05", 65.0)]
)
def test_plain_clock_after_the_name_becomes_the_start(clock, start):
    [turn] = turns(f"Ana {clock}: hi\n")[1].conversations[0].utterances
    assert (turn.speaker, turn.text, turn.start, turn.meta.get("aside")) == ("Ana", "hi", start, None)


def test_plain_bare_times_of_day_are_accepted_if_most_lines_have_one():
    found, transcript = turns("10:30 Ana: hi\n10:31 Ben: no\n")
    assert found == [("Ana", "hi"), ("Ben", "no")]
    assert [u.meta["clock"] for u in transcript.conversations[0]] == ["10:30", "10:31"]


@pytest.mark.parametrize(
    "line",
    [
        "http://example.org/a",
        "https://example.org: it is all there",
        "see you at 10:30",
        "10:30 is fine",
        "12:30 Lunch: soup",
        "Note: this is important",
        "PS: bring wine",
        ":D",
        "great :D",
        "Great:D",
        "Thanks:heart:",
        "John 3:16 says so",
        "C:\\new",
        "Foo::bar",
        "and there is one thing I want: quiet",
    ],
)
def test_plain_text_with_a_colon_continues_the_turn_unchanged(line):
    assert turns(f"Ana: hi\nBen: yes\n{line}\n")[0] == [("Ana", "hi"), ("Ben", f"yes {line}")]


@pytest.mark.parametrize(
    "line",
    [
        "http://example.org/a",
        "see you at 10:30",
        "10:30 is fine",
        ":D",
        "great :D",
        "Great:D",
        "Thanks:heart:",
    ],
)
def test_plain_links_times_and_smileys_are_not_noted(line):
    assert turns(f"Ana: hi\n{line}\n")[1].notes == ()


@pytest.mark.parametrize(
    ("line", "name"),
    [
        ("> Ana: quoted", "Ana"),
        ("> **Ben:** quoted", "Ben"),
        ("ben: no", "ben"),
        ("ben:no way", "ben"),
        ("ana maria: no", "ana maria"),
        ("the Ben Smith: no", "the Ben Smith"),
        ("Note: this", "Note"),
        ("12:30 Lunch: soup", "Lunch"),
        ("(note to self) ben: no", "ben"),
        ("Ana Maria Clara Eva Ida: no", "Ana Maria Clara Eva Ida"),
    ],
)
def test_plain_line_that_seems_to_open_with_a_name_is_noted_with_its_number(line, name):
    found, transcript = turns(f"Ana: hi\n{line}\nAna: bye\n")
    assert found == [("Ana", f"hi {line}"), ("Ana", "bye")]
    assert f"line 2 ({name!r})" in transcript.notes[0]


def test_plain_first_twenty_lines_with_a_possible_speaker_are_noted_by_number():
    _, transcript = turns("Ana: hi\n" + "".join(f"> Ana: quote {n}\n" for n in range(25)))
    assert all(f"line {number} ('Ana')" in transcript.notes[0] for number in range(2, 22))
    assert "25 line(s)" in transcript.notes[0]
    assert "and 5 more" in transcript.notes[0]


NAMES = st.from_regex(
    r"[A-Za-zÀ-ÖØ-öø-ÿ][a-zà-öø-ÿ]{1,8}(?: [A-Z][a-z]{1,8}){0,2}(?: [0-9])?", fullmatch=True
).filter(lambda name: name.casefold() not in {"http", "https", "ftp", "file", "mailto", "www"})
WORDS = st.lists(st.from_regex(r"[a-z]{2,8}", fullmatch=True), min_size=1, max_size=4).map(" ".join)
FORMS = st.sampled_from(
    [
        "{}: {}",
        "{}:{}",
        "**{}:** {}",
        "**{}**: {}",
        "> {}: {}",
        "> **{}:** {}",
        "{} (00:01:05): {}",
        "00:01:02 {}: {}",
        "10:30 {}: {}",
        "- {}: {}",
    ]
)


@settings(deadline=None, max_examples=200)
@given(st.lists(st.tuples(FORMS, NAMES, WORDS), min_size=1, max_size=10), st.booleans())
def test_plain_line_with_a_name_begins_a_turn_or_is_noted(lines, dated):
    opening = "[13/05/2024, 10:01:00] Zoe: hi\n" * 12 if dated else "Zoe: hi\n"
    above = opening.count("\n")
    _, transcript = turns(opening + "".join(form.format(name, words) + "\n" for form, name, words in lines))
    begun = {u.meta["line"] for c in transcript.conversations for u in c}
    told = " ".join(transcript.notes)
    vanished = [
        lines[n]
        for n in range(len(lines))
        if above + n + 1 not in begun and f"line {above + n + 1} (" not in told
    ]
    assert not vanished
