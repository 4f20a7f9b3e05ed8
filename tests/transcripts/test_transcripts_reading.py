import io
from pathlib import Path

import pytest

from erc.errors import InputError
from erc.transcripts import iter_conversations, read_transcript, sniff

EXAMPLES = Path(__file__).parents[2] / "examples"


@pytest.mark.parametrize("data", [b"", b"\n", b" \n\n"])
def test_reading_an_empty_file_is_rejected(data):
    with pytest.raises(InputError, match=r"empty|no turn"):
        read_transcript(io.BytesIO(data))


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"PK\x03\x04\x14\0", "ZIP"),
        (b"%PDF-1.7", "PDF"),
        (bytes(range(256)), "binary"),
        (b"PAR1\x15\0", "Parquet"),
    ],
)
def test_reading_a_binary_file_raises_an_error_that_names_its_type(data, words):
    with pytest.raises(InputError, match=words):
        read_transcript(io.BytesIO(data))


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32", "cp1252"])
def test_reading_detects_the_encoding(encoding):
    transcript = read_transcript(io.BytesIO("Zoë: déjà vu\n".encode(encoding)))
    assert [(u.speaker, u.text) for u in transcript.conversations[0]] == [("Zoë", "déjà vu")]
    assert bool(transcript.notes) == (encoding == "cp1252")


def test_reading_a_damaged_line_decodes_the_others_as_utf8():
    transcript = read_transcript(io.BytesIO("Zoë: ça\n".encode() + "Zoé: là\n".encode("cp1252")))
    assert [(u.speaker, u.text) for u in transcript.conversations[0]] == [("Zoë", "ça"), ("Zoé", "là")]


def test_reading_a_missing_file_raises(tmp_path):
    with pytest.raises(InputError, match=r"none\.txt: cannot be read"):
        read_transcript(tmp_path / "none.txt")


def test_reading_rejects_a_mapping_for_a_format_without_columns():
    with pytest.raises(InputError, match="--map"):
        read_transcript(io.BytesIO(b"Ana: hi"), mapping={"text": "x"})


def test_sniff_prefers_the_content_to_the_name():
    assert sniff(b"speaker,text\nAna,hi\n", "notes.txt").format == "csv"


def test_sniff_falls_back_to_the_name_with_little_confidence():
    found = sniff(b"nothing to see\n", "a.srt")
    assert found.format == "srt"
    assert found.confidence < 0.5


@pytest.mark.parametrize(
    ("name", "format", "speakers"),
    [
        ("standup.txt", "text", 4),
        ("support.csv", "csv", 2),
        ("dinner.vtt", "vtt", 4),
        ("negotiation.jsonl", "jsonl", 3),
    ],
)
def test_examples_are_read_without_a_problem(name, format, speakers):
    transcript = read_transcript(EXAMPLES / name, strict=True)
    (conversation,) = transcript.conversations
    assert transcript.format == format
    assert conversation.conversation_id == Path(name).stem
    assert len(conversation.speakers) == speakers
    assert 12 <= len(conversation) <= 25


def test_reading_accepts_a_path_as_a_string(tmp_path):
    path = tmp_path / "talk.txt"
    path.write_text("Ana: hi\n")
    assert read_transcript(str(path)) == read_transcript(path)
    assert [c.conversation_id for c in iter_conversations(str(path))] == ["talk"]
