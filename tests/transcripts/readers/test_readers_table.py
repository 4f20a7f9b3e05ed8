import io
import json

import pytest

from erc.errors import InputError
from erc.transcripts import iter_conversations, read_transcript


def read(text, **options):
    return read_transcript(
        io.BytesIO(text.encode("utf-8", "surrogatepass")), name=options.pop("name", "chat.csv"), **options
    )


def pairs(transcript):
    return [(u.speaker, u.text) for c in transcript.conversations for u in c]


def test_csv_columns_with_common_names_are_found_and_reported():
    transcript = read("who;message;sent_at\nAna;hi, you;2026-03-03 09:15\n")
    assert pairs(transcript) == [("Ana", "hi, you")]
    assert transcript.conversations[0].utterances[0].timestamp == "2026-03-03T09:15:00"
    assert "text=message, speaker=who, timestamp=sent_at" in transcript.notes[0]


def test_csv_mapping_takes_precedence_over_common_names():
    assert pairs(read("text,line,speaker\nno,yes,Ana\n", mapping={"text": "line"})) == [("Ana", "yes")]


def test_csv_unknown_mapped_column_error_lists_the_columns():
    with pytest.raises(InputError, match="'text', 'speaker'"):
        read("text,speaker\nhi,Ana\n", mapping={"text": "body"})


def test_csv_missing_quote_affects_only_its_own_line():
    transcript = read('speaker,text\nAna,"oops\nBen,fine\nCy,"also, fine"\n')
    assert pairs(transcript) == [("Ben", "fine"), ("Cy", "also, fine")]
    assert [p.line for p in transcript.problems] == [2]


def test_csv_missing_quote_before_unquoted_lines_affects_only_its_own_line():
    transcript = read('speaker,text\nAna,"oops\nBen,fine\n')
    assert pairs(transcript) == [("Ben", "fine")]


def test_csv_line_break_in_quotes_stays_in_the_text():
    assert pairs(read('speaker,text\nAna,"one\ntwo"\n')) == [("Ana", "one\ntwo")]


def test_csv_row_with_too_many_cells_is_skipped_and_reported():
    transcript = read("speaker,text\nAna,well, no\nBen,ok\n")
    assert pairs(transcript) == [("Ben", "ok")]
    assert [p.line for p in transcript.problems] == [2]


def test_csv_interleaved_conversations_are_gathered():
    transcript = read("conversation_id,text\na,1\nb,2\na,3\n")
    assert [(c.conversation_id, [u.text for u in c]) for c in transcript.conversations] == [
        ("a", ["1", "3"]),
        ("b", ["2"]),
    ]


def test_csv_streamed_conversation_that_continues_later_gets_a_new_id():
    problems = []
    found = list(
        iter_conversations(
            io.BytesIO(b"conversation_id,text\na,1\nb,2\na,3\n"), format="csv", on_problem=problems.append
        )
    )
    assert [c.conversation_id for c in found] == ["a", "b", "a~2"]
    assert [p.line for p in problems] == [4]
    assert "give a file" in problems[0].message


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("talk.csv", "conversation_id,speaker,text\na,Ana,1\nb,Ben,2\na,Ana,\na,Cleo,3\nb,Ben,4\n"),
        ("talk.tsv", "conversation_id\tspeaker\ttext\na\tAna\t1\nb\tBen\t2\na\tCleo\t3\nb\tBen\t4\n"),
        (
            "talk.jsonl",
            "".join(
                f'{{"conversation_id": "{talk}", "speaker": "Ana", "text": "{text}"}}\n'
                for talk, text in ("a1", "b2", "a3", "b4")
            ),
        ),
    ],
)
def test_interleaved_file_gives_equal_conversations_when_streamed(tmp_path, name, content):
    """Each broken line is reported once, although the file is read twice."""
    path, problems = tmp_path / name, []
    path.write_text(content)
    whole = read_transcript(path)
    assert list(iter_conversations(path, on_problem=problems.append)) == list(whole.conversations)
    assert problems == list(whole.problems)
    assert [[turn.text for turn in one] for one in whole.conversations] == [["1", "3"], ["2", "4"]]


def test_sorted_file_is_read_no_further_than_the_yielded_conversation(tmp_path):
    """A broken line is reported when the reader reaches it."""
    path, problems = tmp_path / "talk.csv", []
    path.write_text("conversation_id,text\na,1\na,2\nb,3\nc,4\nc,5,too,many\n")
    found = iter_conversations(path, on_problem=problems.append)
    assert (len(next(found)), problems) == (2, [])
    assert [len(one) for one in found] == [1, 1]
    assert [p.line for p in problems] == [6]


def test_csv_cell_longer_than_the_limit_of_the_csv_module_is_kept():
    assert pairs(read("speaker,text\nAna," + "x" * 200_000)) == [("Ana", "x" * 200_000)]


def test_csv_streaming_reads_no_further_than_needed():
    class Endless(io.RawIOBase):
        given = 0

        def readable(self):
            return True

        def readinto(self, buffer):
            row = (
                b"conversation_id,text\n"
                if not self.given
                else b"".join(b"c%d,hello\n" % self.given for _ in range(100))
            )
            self.given += 1
            buffer[: len(row)] = row
            return len(row)

    stream = iter_conversations(io.BufferedReader(Endless()), format="csv")
    assert len(next(stream)) == 100
    stream.close()


def test_jsonl_broken_lines_are_reported_and_the_rest_is_read():
    huge = '{"text": "b", "start": ' + "9" * 5000 + "}"
    lines = [
        '{"text": "a"}',
        "{oops",
        '{"text": NaN}',
        "[" * 100_000,
        huge,
        "[1]",
        '{"text": 5}',
        '{"text": "c"}',
    ]
    transcript = read("\n".join(lines), format="jsonl")
    assert [text for _, text in pairs(transcript)] == ["a", "c"]
    assert [p.line for p in transcript.problems] == [2, 3, 4, 5, 6, 7]


def test_jsonl_lone_surrogate_is_replaced_and_a_pair_is_joined():
    transcript = read('{"text": "\\ud800 \\ud83d\\ude00"}', format="jsonl")
    assert pairs(transcript) == [("unknown", "\ufffd \U0001f600")]
    assert len(transcript.problems) == 1


def test_jsonl_duplicate_utterance_id_is_replaced():
    transcript = read(
        '{"utterance_id": "u", "text": "a"}\n{"utterance_id": "u", "text": "b"}\n', format="jsonl", name="c"
    )
    assert [u.utterance_id for u in transcript.conversations[0]] == ["u", "c-0001"]
    assert [p.line for p in transcript.problems] == [2]


def test_jsonl_mapping_accepts_paths_into_nested_objects():
    line = json.dumps({"body": {"plain": "hi"}, "author": {"name": "Ana"}})
    assert pairs(read(line, format="jsonl", mapping={"text": "body.plain", "speaker": "author.name"})) == [
        ("Ana", "hi")
    ]


def test_jsonl_infinite_time_is_left_out_and_the_turn_stays():
    transcript = read('{"text": "a", "start": 1e999}', format="jsonl")
    assert transcript.conversations[0].utterances[0].start is None
    assert len(transcript.problems) == 1


def test_jsonl_prediction_is_not_read_as_a_gold_label():
    record = {"utterance_id": "u", "text": "a", "emotion": "joy", "decision": "accept", "model": "m@1"}
    utterance = read(json.dumps(record), format="jsonl").conversations[0].utterances[0]
    assert utterance.emotions == ()
    assert utterance.meta["record"]["emotion"] == "joy"


def test_jsonl_gold_label_is_read():
    assert read('{"text": "a", "emotion": "joy"}', format="jsonl").conversations[0].utterances[
        0
    ].emotions == ("joy",)


@pytest.mark.parametrize(
    ("written", "moment"),
    [
        ("1712121200000", "2024-04-03T05:13:20+00:00"),
        ("1700112300000", "2023-11-16T05:25:00+00:00"),
        ("1714550400", "2024-05-01T08:00:00+00:00"),
        ("1714550400.25", "2024-05-01T08:00:00.250000+00:00"),
        ("2024-05-01 10:00", "2024-05-01T10:00:00"),
        ("20240501T100000Z", "2024-05-01T10:00:00+00:00"),
    ],
)
def test_csv_numeric_timestamps_count_from_1970_as_in_json(written, moment):
    [csv] = read(f"speaker,text,timestamp\nAna,hi,{written}\n").conversations
    assert csv.utterances[0].timestamp == moment
    if written.replace(".", "").isdigit():
        [json_lines] = read(
            f'{{"speaker": "Ana", "text": "hi", "timestamp": {written}}}\n', name="a.jsonl"
        ).conversations
        assert json_lines.utterances[0].timestamp == moment


@pytest.mark.parametrize(
    "written", ["20240501", "10:00", "17121212 1200", "99999999999999999999", "1714550400000000"]
)
def test_csv_other_numbers_are_not_timestamps_and_are_reported(written):
    transcript = read(f"speaker,text,timestamp\nAna,hi,{written}\n")
    [turn] = transcript.conversations[0]
    assert (turn.timestamp, turn.meta["timestamp"]) == (None, written)
    assert "neither ISO 8601 nor" in transcript.notes[-1]


@pytest.mark.parametrize("indent", [None, 2])
@pytest.mark.parametrize("name", ["talk.json", "talk"])
def test_json_array_is_read_like_json_lines(indent, name):
    records = [{"speaker": "Ana", "text": "hi]"}, {"speaker": "Ben", "text": "no", "timestamp": 1714550400}]
    transcript = read(json.dumps(records, indent=indent), name=name)
    lines = read("\n".join(map(json.dumps, records)), name=name)
    assert (transcript.format, pairs(transcript), transcript.problems) == ("jsonl", pairs(lines), ())
    assert transcript.conversations[0].utterances[1].timestamp == "2024-05-01T08:00:00+00:00"


def test_json_array_elements_that_are_not_turns_are_reported_by_number_and_line():
    transcript = read('[\n{"text": "a"},\n5,\n{"text": 7},\n{"text":\n"b"}\n]\n', name="a.json")
    assert [text for _, text in pairs(transcript)] == ["a", "b"]
    assert [problem.line for problem in transcript.problems] == [3, 4]
    assert "element 2 of the array: not a JSON object" in str(transcript.problems[0])


@pytest.mark.parametrize(
    ("broken", "told"),
    [
        (
            '[{"text": "a"},\n{"text": NaN}, {"text": "b"}]',
            "2: element 2 of the array: NaN is not a JSON number",
        ),
        ('[{"text": "a"}\n{"text": "b"}]', "2: no comma after element 1 of the array"),
        ('[{"text": "a"},\n{"text": "b"', "2: element 2 of the array: not JSON"),
        ('[{"text": "a"},\n' + "[" * 100_000, "2: element 2 of the array: nested too deeply"),
        ('[{"text": "a"},', "1: the array has no end"),
        ('[{"text": "a"}]\nmore', "2: the array has no end, or there is text after its end"),
    ],
)
def test_broken_json_array_is_read_up_to_the_error(broken, told):
    transcript = read(broken, name="a.json")
    assert [text for _, text in pairs(transcript)] == ["a"]
    assert [told in str(problem) for problem in transcript.problems] == [True]


def test_json_array_without_elements_is_rejected():
    with pytest.raises(InputError, match="no record has a text"):
        read("[]\n", name="a.json")


def test_csv_repeated_column_names_are_reported_and_renamed():
    text = "speaker,text,text\nAna,hi,there\n"
    transcript = read(text)
    assert pairs(transcript) == [("Ana", "hi")]
    assert transcript.conversations[0].utterances[0].meta["record"] == {"text (2)": "there"}
    assert "'text' is repeated" in transcript.notes[0]
    assert pairs(read(text, mapping={"text": "text (2)"})) == [("Ana", "there")]


def test_json_array_of_slack_has_timestamps_and_no_join_or_leave_messages():
    joined = {
        "type": "message",
        "subtype": "channel_join",
        "user": "U1",
        "text": "<@U1> has joined",
        "ts": "1710000001.0001",
    }
    said = {"type": "message", "user": "U1", "text": "hi", "ts": "1710000000.000100"}
    transcript = read(
        json.dumps(
            [said, joined, {**joined, "subtype": "channel_leave"}, {**said, "subtype": "bot_message"}]
        ),
        name="day.json",
    )
    assert [(u.text, u.timestamp) for c in transcript.conversations for u in c] == [
        ("hi", "2024-03-09T16:00:00.000100+00:00")
    ] * 2
    assert "2 message(s) about people who joined or left" in transcript.notes[-1]
