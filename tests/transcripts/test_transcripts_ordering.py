"""Turns are sorted by their timestamps."""

import io
import random

import pytest

from erc.errors import InputError
from erc.transcripts import read_transcript


def read(rows, header="speaker,text,timestamp", **options):
    return read_transcript(io.BytesIO("\n".join([header, *rows]).encode()), name="chat.csv", **options)


def texts(transcript):
    return [(u.index, u.text) for u in transcript.conversations[0]]


def test_newest_first_order_is_reversed_with_a_note():
    rows = [
        "Bob,fourth,2024-05-03T10:00:00",
        "Ana,third,2024-05-02T10:00:00",
        "Bob,second,2024-05-02T10:00:00",
        "Ana,first,2024-05-01T10:00:00",
    ]
    transcript = read(rows)
    assert texts(transcript) == [(0, "first"), (1, "second"), (2, "third"), (3, "fourth")]
    assert (transcript.problems, len(transcript.notes)) == ((), 2)
    assert "'chat' is newest first" in transcript.notes[1]
    assert "4 of 4" in transcript.notes[1]


def test_shuffled_turns_are_sorted_by_time_and_numbered_in_that_order():
    rows = [f"Ana,turn {n},{1714550400 + 60 * n}" for n in range(50)]
    random.Random(0).shuffle(rows)
    transcript = read(rows)
    assert texts(transcript) == [(n, f"turn {n}") for n in range(50)]
    assert [u.utterance_id for u in transcript.conversations[0]] == [f"chat-{n:04d}" for n in range(50)]


def test_turns_with_one_timestamp_keep_the_file_order():
    rows = [
        "Ana,c,2024-05-02",
        "Ana,a,2024-05-01",
        "Ana,b,2024-05-01",
        "Ana,d,2024-05-02",
        "Ana,e,2024-05-03",
    ]
    assert [text for _, text in texts(read(rows))] == ["a", "b", "c", "d", "e"]


@pytest.mark.parametrize("seconds", [[0, 10, 8.5, 20], [0, -1.5], [0, 0, 0]])
def test_file_order_is_kept_without_a_note_for_clock_jitter(seconds):
    rows = [f"Ana,turn {n},{1714550400 + second}" for n, second in enumerate(seconds)]
    transcript = read(rows)
    assert texts(transcript) == [(n, f"turn {n}") for n in range(len(seconds))]
    assert (transcript.problems, len(transcript.notes)) == ((), 1)


def test_order_of_overlapping_captions_is_kept_without_a_note():
    cues = (
        "1\n00:00:01,000 --> 00:00:09,000\nAna: So.\n\n2\n00:00:08,000 --> 00:00:12,000\nBen: No.\n\n"
        "3\n00:00:02,000 --> 00:00:03,000\nCy: Ha.\n"
    )
    transcript = read_transcript(io.BytesIO(cues.encode()), format="srt")
    assert (texts(transcript), transcript.problems, transcript.notes) == (
        [(0, "So."), (1, "No."), (2, "Ha.")],
        (),
        (),
    )


@pytest.mark.parametrize(
    ("header", "rows", "why"),
    [
        (
            "speaker,text,timestamp",
            ["Ana,0,2024-05-03", "Ana,1,", "Ana,2,2024-05-01"],
            "1 of 3 turns have none",
        ),
        (
            "speaker,text,timestamp",
            ["Ana,0,2024-05-01T10:00:00+02:00", "Ana,1,2024-05-01T07:00:00"],
            "time zone",
        ),
        (
            "speaker,text,timestamp,start",
            ["Ana,0,2024-05-03,0", "Ana,1,2024-05-02,5", "Ana,2,2024-05-01,9"],
            "the seconds of the recording",
        ),
        ("speaker,text,start", ["Ana,0,90", "Ana,1,60", "Ana,2,30"], "it has no timestamps"),
    ],
)
def test_file_order_is_kept_with_a_problem_if_times_contradict(header, rows, why):
    transcript = read(rows, header)
    assert texts(transcript) == [(n, str(n)) for n in range(len(rows))]
    assert len(transcript.problems) == 1
    assert why in str(transcript.problems[0])
    with pytest.raises(InputError, match="sort the file by time"):
        read(rows, header, strict=True)


def test_partly_dated_turns_in_ascending_order_are_no_problem():
    transcript = read(["Ana,0,2024-05-01", "Ana,1,", "Ana,2,2024-05-02"])
    assert (texts(transcript), transcript.problems) == ([(0, "0"), (1, "1"), (2, "2")], ())
