import csv
import errno
import io
import json
import os
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from erc.errors import InputError
from erc.transcripts import open_writer, output_format, read_transcript
from erc.transcripts.spreadsheet_safety import defuse, restore

EXAMPLES = Path(__file__).parents[2] / "examples"
RISKY = "=+-@\t\r\n\0＝＋－＠"
# Text that a reader does not change: no surrogates, no NUL, at least one character besides white space.
TEXT = st.text(
    st.characters(codec="utf-8", exclude_characters="\0") | st.sampled_from("=+-@'\t\r\n\",;"),
    min_size=1,
    max_size=40,
).filter(str.strip)


def record(**changes):
    base = {
        "conversation_id": "c", "utterance_id": "c-0000", "index": 0,
        "speaker": "Ana", "speaker_id": "spk_1", "text": "hi",
        "start": 1.0, "end": 2.5, "timestamp": None,
        "emotion": "joy", "confidence": 0.75, "probabilities": {"joy": 0.75, "neutral": 0.25},
        "fine": [{"emotion": "amusement", "probability": 0.5, "epistemic": 0.125}],
        "uncertainty": {"total": 0.5, "aleatoric": 0.25, "epistemic": 0.25},
        "decision": "accept", "model": "m@1",
        "history": {"utterances": 12, "conversations": 3},
    }  # fmt: skip
    return base | changes


def write(records, target, format=None):
    with open_writer(target, format) as writer:
        for one in records:
            writer.write(one)


def written(format, *records):
    stream = io.BytesIO()
    write(records, stream, format)
    return stream.getvalue()


@settings(deadline=None, max_examples=100)
@given(TEXT, TEXT, st.sampled_from(["jsonl", "csv"]))
def test_written_text_is_read_back_unchanged(text, name, format):
    transcript = read_transcript(
        io.BytesIO(written(format, record(text=text, speaker=name))), format=format, strict=True
    )
    (utterance,) = transcript.conversations[0]
    assert (utterance.text, utterance.speaker, utterance.start) == (text, " ".join(name.split()), 1.0)
    assert utterance.emotions == ()


@given(st.text())
def test_formulas_restore_is_the_inverse_of_defuse(text):
    assert restore(defuse(text)) == text


@settings(deadline=None)
@given(st.sampled_from(RISKY), st.text(max_size=5))
def test_csv_text_cells_never_open_like_a_formula(sign, rest):
    data = written("csv", record(text=sign + rest, speaker=sign + rest, emotion=sign + rest)).decode()
    row = next(csv.DictReader(io.StringIO(data, newline="")))
    assert not any(row[column][:1] in RISKY for column in ("text", "speaker", "emotion") if row[column])


def test_csv_negative_number_stays_a_number():
    row = next(csv.DictReader(io.StringIO(written("csv", record(confidence=-0.5)).decode())))
    assert row["confidence"] == "-0.5"


@pytest.mark.parametrize("cut", [True, False])
def test_csv_and_parquet_state_whether_a_text_was_truncated(cut, tmp_path):
    import pyarrow.parquet as pq

    row = next(csv.DictReader(io.StringIO(written("csv", record(truncated=cut)).decode())))
    assert json.loads(row["truncated"]) is cut
    write([record(truncated=cut)], tmp_path / "t.parquet")
    assert pq.read_table(tmp_path / "t.parquet").to_pylist()[0]["truncated"] is cut


@pytest.mark.parametrize("asked", [{"prompt": "erc/v1@1234", "score_kind": "exact"}, {}])
def test_csv_and_parquet_state_prompt_and_score_kind(asked, tmp_path):
    import pyarrow.parquet as pq

    row = next(csv.DictReader(io.StringIO(written("csv", record(**asked)).decode())))
    assert {name: row[name] for name in ("prompt", "score_kind") if row[name]} == asked
    write([record(**asked)], tmp_path / "t.parquet")
    kept = pq.read_table(tmp_path / "t.parquet").to_pylist()[0]
    assert {name: kept[name] for name in ("prompt", "score_kind") if kept[name] is not None} == asked


def test_csv_of_other_programs_keeps_its_apostrophes():
    transcript = read_transcript(io.BytesIO(b"speaker,text\nAna,'=yes\n"), format="csv")
    assert transcript.conversations[0].utterances[0].text == "'=yes"


@pytest.mark.parametrize("format", ["jsonl", "csv"])
def test_writers_reject_nan_and_name_the_record(format):
    with pytest.raises(InputError, match="c-0000"):
        written(format, record(confidence=float("nan")))


def test_jsonl_accepts_numpy_numbers_and_replaces_surrogates():
    line = json.loads(written("jsonl", record(confidence=np.float32(0.5), index=np.int64(3), text="a\ud800")))
    assert (line["confidence"], line["index"], line["text"]) == (0.5, 3, "a\ufffd")


def test_parquet_schema_is_the_same_for_full_and_bare_records(tmp_path):
    import pyarrow.parquet as pq

    write([record()], tmp_path / "full.parquet")
    write([{"utterance_id": "u", "text": "hi"}], tmp_path / "bare.parquet")
    full, bare = pq.read_table(tmp_path / "full.parquet"), pq.read_table(tmp_path / "bare.parquet")
    assert full.schema == bare.schema
    assert full.to_pylist()[0]["history"] == {"utterances": 12, "conversations": 3}
    assert dict(full.to_pylist()[0]["probabilities"]) == {"joy": 0.75, "neutral": 0.25}


def test_parquet_is_written_to_a_stream_without_a_position():
    class Pipe(io.RawIOBase):
        data = b""

        def write(self, chunk):
            self.data += bytes(chunk)
            return len(chunk)

        def tell(self):
            raise OSError(errno.ESPIPE, "Illegal seek")

    pipe = Pipe()
    write([record()] * 2500, pipe, "parquet")
    import pyarrow.parquet as pq

    assert pq.ParquetFile(io.BytesIO(pipe.data)).metadata.num_rows == 2500


def test_vtt_cue_has_emotion_class_and_voice():
    data = written("vtt", record(text="a < b\n\n--> c", decision="review")).decode()
    assert (
        data == "WEBVTT\n\nc-0000\n00:00:01.000 --> 00:00:02.500\n"
        "<v.joy.review Ana>(joy?) a &lt; b --&gt; c</v>\n\n"
    )


def test_vtt_turn_without_end_lasts_until_the_next():
    data = written("vtt", record(end=None, text="x" * 300), record(start=3.0, end=4.0)).decode()
    assert "00:00:01.000 --> 00:00:03.000" in data


def test_vtt_record_without_times_is_rejected():
    with pytest.raises(InputError, match=r"c-0000.*no start"):
        written("vtt", record(start=None))


def test_vtt_labelled_file_has_the_cues_and_the_turns_of_its_source():
    source = read_transcript(EXAMPLES / "dinner.vtt").conversations[0]
    records = [
        {"speaker": turn.speaker, "start": turn.start, "cues": turn.meta["cues"], "emotion": "joy"}
        for turn in source
    ]
    data = written("vtt", *records)
    again = read_transcript(io.BytesIO(data), strict=True).conversations[0]
    assert [(u.speaker, u.text, u.start, u.end) for u in again] == [
        (u.speaker, u.text, u.start, u.end) for u in source
    ]
    assert data.count(b"-->") == EXAMPLES.joinpath("dinner.vtt").read_bytes().count(b"-->")


@pytest.mark.parametrize("failure", [RuntimeError, KeyboardInterrupt])
@pytest.mark.parametrize("name", ["out.jsonl", "out.csv", "out.parquet", "out.vtt"])
def test_writer_failure_leaves_the_old_file_and_no_other(tmp_path, name, failure):
    (tmp_path / name).write_text("old")
    with pytest.raises(failure), open_writer(tmp_path / name) as writer:  # noqa: PT012
        writer.write(record())
        raise failure
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {name: "old"}


def test_writer_success_replaces_the_file_and_keeps_its_permissions(tmp_path):
    path = tmp_path / "out.jsonl"
    path.write_text("old")
    path.chmod(0o640)
    write([record()], path)
    assert json.loads(path.read_text()) == record()
    assert path.stat().st_mode & 0o777 == 0o640
    assert [child.name for child in tmp_path.iterdir()] == ["out.jsonl"]


def test_writer_follows_a_link_instead_of_replacing_it(tmp_path):
    (tmp_path / "real.jsonl").write_text("old")
    (tmp_path / "link.jsonl").symlink_to(tmp_path / "real.jsonl")
    write([record()], tmp_path / "link.jsonl")
    assert (tmp_path / "link.jsonl").is_symlink()
    assert json.loads((tmp_path / "real.jsonl").read_text())["text"] == "hi"


@pytest.mark.parametrize("where", ["fsync", "replace"])
def test_writer_full_disk_is_reported_and_the_old_file_is_kept(tmp_path, monkeypatch, where):
    (tmp_path / "out.jsonl").write_text("old")

    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, where, full)
    with pytest.raises(InputError, match="No space left"):
        write([record()], tmp_path / "out.jsonl")
    assert [child.name for child in tmp_path.iterdir()] == ["out.jsonl"]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_writer_full_device_is_reported():
    with pytest.raises(InputError, match="No space left"):
        write([record()], "/dev/full", "jsonl")


def test_writer_missing_folder_is_reported(tmp_path):
    with pytest.raises(InputError, match="no folder"):
        write([record()], tmp_path / "none" / "out.jsonl")


def test_writer_passes_on_exceptions_of_the_caller(tmp_path):
    with pytest.raises(ConnectionResetError), open_writer(tmp_path / "out.jsonl"):
        raise ConnectionResetError


def test_writer_dash_is_standard_output(capfdbinary):
    write([record()], "-")
    assert json.loads(capfdbinary.readouterr().out)["utterance_id"] == "c-0000"


def test_output_format_of_an_unknown_suffix_is_rejected():
    with pytest.raises(InputError, match=r"'\.docx'"):
        output_format("out.docx")
