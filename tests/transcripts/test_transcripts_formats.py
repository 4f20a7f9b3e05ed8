import io
import os
import subprocess
import sys

import pytest

from erc.errors import InputError
from erc.transcripts import FORMATS, Draft, Format, open_writer, output_format, read_transcript, sniff

SHOW_HELP = """
import sys
from erc.transcripts import FORMATS, Format
toy = Format(name="toy", help="toy dialogue", output_suffixes=(".toy",), reader=print, writer=print)
FORMATS["toy"] = toy
from erc.cli.app import app
app(sys.argv[1:])
"""


def read_toy(lines, *, mapping, log):
    for line in lines:
        speaker, _, text = line.text.removeprefix("!").rstrip("\n").partition("|")
        yield Draft(line=line.number, text=text, speakers=(speaker,))


def sniff_toy(lines, suffix):
    return (0.9, "opens with !") if lines[0].startswith("!") else None


class ToyWriter:
    def __init__(self, stream):
        self.stream = stream

    def write(self, record):
        self.stream.write(f"!{record['speaker']}|{record['text']}\n".encode())

    def finish(self):
        self.stream.write(b"!end|end\n")

    def discard(self):
        pass


@pytest.fixture
def toy(monkeypatch):
    entry = Format(
        name="toy", help="toy dialogue", suffixes=(".toy",), output_suffixes=(".toy",),
        reader=read_toy, sniff=sniff_toy, writer=ToyWriter,
    )  # fmt: skip
    monkeypatch.setitem(FORMATS, "toy", entry)


def test_format_in_the_table_is_written_and_read(toy, tmp_path):
    with open_writer(tmp_path / "a.toy") as writer:
        writer.write({"speaker": "Ana", "text": "hi: there"})
    transcript = read_transcript(tmp_path / "a.toy")
    assert transcript.format == "toy"
    assert [(turn.speaker, turn.text) for turn in transcript.conversations[0]] == [
        ("Ana", "hi: there"),
        ("end", "end"),
    ]


def test_format_in_the_table_is_sniffed_by_content_and_by_name(toy):
    assert sniff(b"!Ana|so: hi\n").format == "toy"
    by_name = sniff(b"nothing\n", "a.toy")
    assert (by_name.format, by_name.confidence < 0.5) == ("toy", True)


def test_format_in_the_table_is_listed_in_errors(toy):
    with pytest.raises(InputError, match="srt, toy"):
        read_transcript(io.BytesIO(b"x"), format="docx")
    with pytest.raises(InputError, match=r"\.parquet, \.toy"):
        output_format("a.docx")
    assert output_format("a.toy") == "toy"


@pytest.mark.parametrize(
    ("verb", "words"),
    [("label", ["srt or toy", ".parquet or .toy", "toy dialogue"]), ("evaluate", ["srt or toy"])],
)
def test_format_in_the_table_is_listed_in_the_help(verb, words):
    shown = subprocess.run(
        [sys.executable, "-c", SHOW_HELP, verb, "--help"],
        capture_output=True,
        text=True,
        check=True,
        env=os.environ | {"COLUMNS": "400", "NO_COLOR": "1"},
    ).stdout
    assert [word for word in words if word not in shown] == []


def test_each_suffix_belongs_to_one_format():
    read = [suffix for entry in FORMATS.values() if entry.reader for suffix in entry.suffixes]
    write = [suffix for entry in FORMATS.values() if entry.writer for suffix in entry.output_suffixes]
    assert len(set(read)) == len(read)
    assert len(set(write)) == len(write)


def test_format_without_a_reader_or_writer_is_rejected_for_that_direction():
    with pytest.raises(InputError, match="no input format 'parquet'"):
        read_transcript(io.BytesIO(b"Ana: hi\n"), format="parquet")
    with pytest.raises(InputError, match="no output format 'srt'"):
        output_format("-", "srt")


def test_caption_files_are_recognised_by_header_and_first_time():
    assert sniff(b"WEBVTT\n\n00:00:01,000 --> 00:00:02,000\nhi\n").format == "vtt"
    assert sniff(b"1\n00:00:01,000 --> 00:00:02,000\nhi\n").format == "srt"
    assert sniff(b"00:00:01.000 --> 00:00:02.000\nhi\n").format == "vtt"


def test_chat_export_whose_first_line_looks_like_a_header_is_text():
    export = b"text, name\n[13/05/2024, 10:01] Ana: hi\n[13/05/2024, 10:02] Ben: yo\n"
    assert sniff(export).format == "text"
    assert sniff(export, "a.csv").format == "csv"
