"""`label` accepts every form of input and gives the labels of the command."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas
import pytest
from typer.testing import CliRunner

import erc
from erc.cli.app import app
from erc.errors import ConfigError, InputError

TURNS = [
    ("Ana", "I am so happy to see you again!"),
    ("Ben", "No."),
    ("Ana", "Why did nobody tell me?"),
]
CHAT = "".join(f"{speaker}: {text}\n" for speaker, text in TURNS)
FORMS: dict[str, Callable[[], Any]] = {
    "path as text": lambda: "chat.txt",
    "path": lambda: Path("chat.txt"),
    "list of one path": lambda: ["chat.txt"],
    "text": lambda: CHAT,
    "pairs": lambda: TURNS,
    "iterator of pairs": lambda: iter(TURNS),
    "records": lambda: [{"speaker": speaker, "text": text} for speaker, text in TURNS],
    "chat messages": lambda: [{"role": speaker, "content": text} for speaker, text in TURNS],
    "data frame": lambda: pandas.DataFrame(TURNS, columns=["who", "message"]),
    "conversation": lambda: _conversation("chat"),
    "list of conversations": lambda: [_conversation("chat")],
}
READERS = ("text", "pairs", "iterator of pairs", "records", "chat messages", "data frame")


def _conversation(identifier: str) -> erc.Conversation:
    turns = (
        erc.Utterance(f"{identifier}-{index:04d}", index, speaker, text)
        for index, (speaker, text) in enumerate(TURNS)
    )
    return erc.Conversation(identifier, tuple(turns))


def command(*arguments: str) -> list[dict[str, Any]]:
    """The records that `erc label` prints."""
    options = ["--model", "tiny-hierarchical", "--samples", "2", "--precision", "fp32", "--json"]
    result = CliRunner().invoke(app, ["label", *arguments, *options])
    assert result.exit_code == 0, result.output
    return [json.loads(line) for line in result.stdout.splitlines()]


@pytest.mark.parametrize("form", list(FORMS))
def test_label_of_every_input_form_gives_the_records_of_the_command(
    form: str, predictor: erc.LoadedPredictor
) -> None:
    named = {"conversation_id": "chat"} if form in READERS else {}
    result = predictor.label(FORMS[form](), **named)
    assert result.to_dict() == command("chat.txt")
    assert result.problems == ()


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.csv", "who,message\nAna,Okay.\nBen,It hurts.\n"),
        ("b.jsonl", '{"speaker": "Ana", "text": "Okay."}\n{"speaker": "Ben", "text": "It hurts."}\n'),
        ("c.vtt", "WEBVTT\n\n00:00:01.000 --> 00:00:02.000\n<v Ana>Okay.\n"),
    ],
)
def test_label_of_a_file_or_its_text_gives_the_labels_of_the_command(
    name: str, content: str, predictor: erc.LoadedPredictor
) -> None:
    Path(name).write_text(content, encoding="utf-8")
    wanted = command(name)
    assert predictor.label(name).to_dict() == wanted
    assert predictor.label(content, conversation_id=Path(name).stem).to_dict() == wanted


def test_several_files_of_one_name_get_unique_ids_as_in_the_command(
    predictor: erc.LoadedPredictor,
) -> None:
    for folder in ("one", "two"):
        Path(folder).mkdir()
        Path(folder, "chat.txt").write_text(CHAT, encoding="utf-8")
    files = ["one/chat.txt", "two/chat.txt"]
    result = predictor.label(files)
    assert result.to_dict() == command(*files)
    assert [one.conversation.conversation_id for one in result.conversations] == ["chat", "two/chat"]
    assert any("two/chat" in note for note in result.notes)


def test_columns_name_the_text_of_a_table_and_of_a_frame(predictor: erc.LoadedPredictor) -> None:
    frame = pandas.DataFrame({"said": ["Okay.", "No."], "by": ["Ana", "Ben"], "message": ["x", "y"]})
    frame.to_csv("calls.csv", index=False)
    columns = {"text": "said", "speaker": "by"}
    result = predictor.label(frame, columns=columns, conversation_id="calls")
    assert [(turn.speaker, turn.text) for turn in result] == [("Ana", "Okay."), ("Ben", "No.")]
    assert result.to_dict() == predictor.label("calls.csv", columns=columns).to_dict()


def test_label_of_a_frame_equals_that_of_its_csv_file(predictor: erc.LoadedPredictor) -> None:
    frame = pandas.DataFrame(
        {
            "conversation_id": [1, 2, 1],
            "speaker": ["Ana", None, "Ben"],
            "text": ["Okay.", "No.", "It hurts."],
            "timestamp": pandas.to_datetime(["2024-05-01T10:02", "2024-05-02T10:00", "2024-05-01T10:01"]),
            "start": [float("nan"), 1.5, 2.0],
        }
    )
    frame.to_csv("export.csv", index=False)
    result = predictor.label(frame)
    assert [(turn.conversation_id, turn.speaker) for turn in result] == [
        ("1", "Ben"),
        ("1", "Ana"),
        ("2", "unknown"),
    ]
    assert result.to_dict() == predictor.label("export.csv").to_dict()


@pytest.mark.parametrize(
    ("data", "bad"),
    [
        ([("Ana", "Okay."), ("Ben", ""), ("Ben", "No.")], 2),
        ([("Ana", "Okay."), ("Ben", None), ("Ben", "No.")], 2),
        ([("Ana", "Okay."), "Ben: hi", ("Ben", "No.")], 2),
        ([{"text": "Okay."}, {"text": 7}, {"text": "No."}], 2),
        ([{"text": "Okay."}, "No.", {"text": "No."}], 2),
        ('{"text": "Okay."}\n{"text": \n{"text": "No."}\n', 2),
        (pandas.DataFrame({"text": ["Okay.", None, "No."]}), 2),
    ],
)
def test_bad_line_is_a_problem_and_the_good_ones_are_labelled(
    data: Any, bad: int, predictor: erc.LoadedPredictor
) -> None:
    result = predictor.label(data)
    assert [turn.text for turn in result] == ["Okay.", "No."]
    assert [problem.line for problem in result.problems] == [bad]
    with pytest.raises(InputError):
        predictor.label(data, strict=True)


def test_unreadable_file_among_others_is_a_problem(predictor: erc.LoadedPredictor) -> None:
    Path("scan.pdf").write_bytes(b"%PDF-1.7\n")
    result = predictor.label(["scan.pdf", "chat.txt"])
    assert len(result) == 3
    [problem] = result.problems
    assert problem.path == "scan.pdf"
    assert "PDF" in problem.message
    with pytest.raises(InputError, match="PDF"):
        predictor.label("scan.pdf")


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ("chat.text", "neither the path of an existing file nor a text"),
        ("I am happy", "neither the path of an existing file nor a text"),
        (Path("gone.txt"), "gone.txt"),
        (["chat.txt", "gone.txt"], "'gone.txt' is not the path of an existing file"),
        (["I am happy.", "It hurts."], "strings in a list are paths"),
        ([], "the list is empty"),
        (7, "int cannot be labelled"),
        ({"text": "No."}, "dict cannot be labelled"),
        ([7, 8], "a list of int cannot be labelled"),
        ([("Ana",)], "no turn could be read"),
        ([{"said": "No."}], r"columns=\{\"text\": \"COLUMN\"\}"),
    ],
)
def test_unreadable_input_raises_an_error_that_explains_it(
    data: Any, message: str, predictor: erc.LoadedPredictor
) -> None:
    with pytest.raises(InputError, match=message):
        predictor.label(data)


def test_text_of_one_line_needs_a_speaker(predictor: erc.LoadedPredictor) -> None:
    [turn] = predictor.label("Ana: I am so happy!")
    assert (turn.speaker, turn.text, turn.conversation_id) == ("Ana", "I am so happy!", "conversation")


def test_string_that_is_the_path_of_a_file_is_read_as_a_path(predictor: erc.LoadedPredictor) -> None:
    Path("Ana: hi").write_text(CHAT, encoding="utf-8")
    assert len(predictor.label("Ana: hi")) == 3


@pytest.mark.parametrize(
    ("data", "options"),
    [
        ("chat.txt", {"conversation_id": "c"}),
        (TURNS, {"format": "csv"}),
        (TURNS, {"columns": {"text": "said"}}),
        ([{"text": "No."}], {"format": "csv"}),
        (_conversation("c"), {"columns": {"text": "said"}}),
    ],
)
def test_label_rejects_options_without_effect(
    data: Any, options: dict[str, Any], predictor: erc.LoadedPredictor
) -> None:
    with pytest.raises(InputError, match="has no effect here"):
        predictor.label(data, **options)


@pytest.mark.parametrize(
    "options", [{"tenant": "a"}, {"names": "n.yaml"}, {"samples": 3, "uncertainty": "off"}, {"server": "x"}]
)
def test_load_rejects_options_without_effect(options: dict[str, Any]) -> None:
    with pytest.raises(ConfigError):
        erc.load("tiny-hierarchical", **options)


def test_load_reports_in_another_emotion_set() -> None:
    predictor = erc.load("tiny-hierarchical", emotions="sentiment", uncertainty="off")
    assert set(predictor.emotions) == {"positive", "negative", "neutral", "ambiguous"}
    assert {turn.emotion for turn in predictor.label(TURNS)} <= set(predictor.emotions)
