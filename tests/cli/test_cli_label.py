"""`erc label`: input transcripts, output records and tables, and error messages."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result
from typer.testing import CliRunner

from erc.cli import console, label
from erc.cli.app import app
from erc.errors import ArtefactError, ConfigError, ConvemoError, InputError
from erc.evaluation.labelled_data import load_gold

CHAT = "Ana: I am so happy to see you again!\nBen: No.\nAna: Why did nobody tell me?\n"
EMOTIONS = {"neutral", "surprise", "fear", "sadness", "joy", "disgust", "anger"}


@pytest.fixture(autouse=True)
def place(tiny_shelf: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The tiny models, and a working folder for each test."""
    monkeypatch.setenv("CONVEMO_MODELS", str(tiny_shelf))
    monkeypatch.delenv("CONVEMO_MEMORY", raising=False)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "chat.txt").write_text(CHAT, encoding="utf-8")
    return tmp_path


def run(*arguments: str, model: str = "tiny-hierarchical", stdin: str | None = None) -> Result:
    return CliRunner().invoke(
        app, ["label", *arguments, "--model", model, "--samples", "2", "--precision", "fp32"], input=stdin
    )


def records(text: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text.splitlines()]


def failure(result: Result) -> ConvemoError:
    """The error for the user that ended a run."""
    assert isinstance(result.exception, ConvemoError), result.output
    return result.exception


def test_label_piped_prints_one_record_per_turn_and_messages_on_stderr() -> None:
    result = run("chat.txt")
    found = records(result.stdout)
    assert result.exit_code == 0
    assert [(one["speaker"], one["text"]) for one in found][1] == ("Ben", "No.")
    assert {one["emotion"] for one in found} <= EMOTIONS
    assert [one["history"]["utterances"] for one in found] == [0, 0, 1]
    assert {one["model"] for one in found} == {"tiny-hierarchical@1"}
    assert {one["speaker_id"] for one in found} == {None}
    assert "3 turns of 1 conversations labelled" in result.stderr


def test_label_with_an_output_file_writes_it_and_prints_the_table(place: Path) -> None:
    result = run("chat.txt", "-o", "out.jsonl")
    assert len(records((place / "out.jsonl").read_text(encoding="utf-8"))) == 3
    assert all(word in result.stdout for word in ("speaker", "emotion", "Ana", "Why did"))
    assert "written to out.jsonl" in result.stderr


def test_label_with_json_and_an_output_file_prints_no_table(place: Path) -> None:
    assert run("chat.txt", "-o", "out.jsonl", "--json").stdout == ""
    assert (place / "out.jsonl").is_file()


def test_label_at_a_terminal_prints_the_table(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(label.stdout, "_force_terminal", True)
    monkeypatch.setattr(console.stdout, "_width", 100)
    result = run("chat.txt")
    assert all(word in result.stdout for word in ("speaker", "emotion", "unsure"))
    assert '"emotion"' not in result.stdout


def test_label_reads_standard_input_and_names_it_stdin() -> None:
    found = records(run("-", stdin=CHAT).stdout)
    assert [one["conversation_id"] for one in found] == ["stdin"] * 3


@pytest.mark.parametrize("name", ["export.csv", "export.jsonl"])
def test_label_reads_an_interleaved_export_as_evaluate_does(name: str, place: Path) -> None:
    turns = [("ab"[turn % 2], "Ana", f"This is turn {turn}.", "joy") for turn in range(7)]
    keys = ("conversation_id", "speaker", "text", "emotion")
    lines = (
        [",".join(row) for row in (keys, *turns)]
        if name.endswith(".csv")
        else [json.dumps(dict(zip(keys, row, strict=True))) for row in turns]
    )
    (place / name).write_text("\n".join(lines), encoding="utf-8")
    result = run(name, "--strict")
    found = records(result.stdout)
    gold = load_gold(str(place / name), model_set="ekman").conversations
    assert [(one["conversation_id"], one["utterance_id"], one["text"]) for one in found] == [
        (talk.conversation_id, turn.utterance_id, turn.text) for talk in gold for turn in talk
    ]
    assert [one["history"]["utterances"] for one in found] == [0, 1, 2, 3, 0, 1, 2]
    assert "7 turns of 2 conversations labelled" in result.stderr


def test_label_reports_a_conversation_that_continues_later_in_standard_input() -> None:
    result = run("-", stdin="conversation_id,speaker,text\na,Ana,Okay.\nb,Ben,No.\na,Ana,It hurts.\n")
    assert [one["conversation_id"] for one in records(result.stdout)] == ["a", "b", "a~2"]
    assert "stdin:4" in result.stderr
    assert "give a file" in result.stderr


def test_label_reads_mapped_columns(place: Path) -> None:
    (place / "calls.csv").write_text("who,message\nAna,Okay.\nBen,No.\n", encoding="utf-8")
    found = records(run("calls.csv", "--map", "text=message", "--map", "speaker=who").stdout)
    assert [(one["speaker"], one["text"]) for one in found] == [("Ana", "Okay."), ("Ben", "No.")]


@pytest.mark.parametrize("pair", ["text", "=message", "text="])
def test_label_rejects_an_invalid_mapping(pair: str) -> None:
    error = failure(run("chat.txt", "--map", pair))
    assert isinstance(error, ConfigError)
    assert "field=column" in str(error)


@pytest.mark.parametrize(
    ("emotions", "count", "model"),
    [("sentiment", 4, "tiny-hierarchical@1"), ("goemotions", 28, "tiny-utterance@3")],
)
def test_label_reports_in_another_set(emotions: str, count: int, model: str) -> None:
    found = records(run("chat.txt", "--emotions", emotions).stdout)
    assert {(len(one["probabilities"]), one["model"]) for one in found} == {(count, model)}


def test_label_rejects_an_emotion_set_without_a_map() -> None:
    assert failure(run("chat.txt", "--emotions", "semeval2018")).exit_code == 2


def test_label_reports_a_broken_line_and_labels_the_rest(place: Path) -> None:
    (place / "log.jsonl").write_text(
        '{"speaker": "Ana", "text": "Okay."}\n{"speaker": \n{"speaker": "Ben", "text": "No."}\n',
        encoding="utf-8",
    )
    result = run("log.jsonl")
    assert result.exit_code == 0
    assert [one["text"] for one in records(result.stdout)] == ["Okay.", "No."]
    assert "log.jsonl:2" in result.stderr
    assert "1 problems in the input" in result.stderr


def test_label_strict_stops_at_the_broken_line(place: Path) -> None:
    (place / "log.jsonl").write_text('{"speaker": "Ana", "text": "Okay."}\n{"speaker": \n', encoding="utf-8")
    error = failure(run("log.jsonl", "--strict"))
    assert (type(error), error.exit_code) == (InputError, 2)
    assert "log.jsonl:2" in str(error)


def test_label_reports_a_missing_file_and_labels_the_others(place: Path) -> None:
    result = run("chat.txt", "absent.txt", "-o", "out.jsonl")
    assert failure(result).exit_code == 2
    assert "absent.txt" in str(result.exception)
    assert "skipped: absent.txt" in result.stderr
    assert len(records((place / "out.jsonl").read_text(encoding="utf-8"))) == 3


def test_label_reads_two_files_of_one_name_as_two_conversations(place: Path) -> None:
    (place / "other").mkdir()
    (place / "other" / "chat.txt").write_text("Ana: It hurts.\n", encoding="utf-8")
    result = run("chat.txt", "other/chat.txt")
    found = records(result.stdout)
    assert [one["history"]["utterances"] for one in found] == [0, 0, 1, 0]
    assert [one["conversation_id"] for one in found] == ["chat"] * 3 + ["other/chat"]
    assert found[3]["utterance_id"] == "other/chat-0000"
    assert result.stderr.count("this one is 'other/chat'") == 1
    # The memory distinguishes files of one name by their content, whichever files are labelled together.
    together = records(run("chat.txt", "other/chat.txt", "--memory", "speakers.db").stdout)
    alone = records(run("other/chat.txt", "--memory", "speakers.db").stdout)
    assert together[3]["conversation_id"] == alone[0]["conversation_id"] not in ("chat", "other/chat")


def test_label_rejects_the_memory_as_output(place: Path) -> None:
    run("chat.txt", "--memory", "people.jsonl")
    kept = (place / "people.jsonl").read_bytes()
    error = failure(run("chat.txt", "--memory", "people.jsonl", "-o", "people.jsonl"))
    assert error.exit_code == 2
    assert "the speaker memory itself" in str(error)
    assert (place / "people.jsonl").read_bytes() == kept


@pytest.mark.parametrize("output", ["chat.txt", "./sub/../chat.txt"])
def test_label_rejects_an_input_as_output(output: str, place: Path) -> None:
    (place / "sub").mkdir()
    error = failure(run("chat.txt", "-o", output))
    assert error.exit_code == 2
    assert "would overwrite the input" in str(error)
    assert (place / "chat.txt").read_text(encoding="utf-8") == CHAT


def test_label_unknown_model_lists_the_models() -> None:
    error = failure(run("chat.txt", model="nothing-like-it"))
    assert (type(error), error.exit_code) == (ArtefactError, 3)
    assert "tiny-hierarchical" in str(error)
    assert "tiny-utterance" in str(error)


@pytest.mark.parametrize(
    "option", [("--samples", "0"), ("--samples", "100000"), ("--uncertainty", "some"), ("--precision", "fp8")]
)
def test_label_rejects_an_option_out_of_range(option: tuple[str, str]) -> None:
    result = CliRunner().invoke(app, ["label", "chat.txt", "--model", "tiny-utterance", *option])
    assert failure(result).exit_code == 2
    assert option[1] in str(result.exception)


# --- with a speaker memory
# ------------------------------------------------------------------------------------------------------


def test_label_without_a_memory_stores_nothing(place: Path) -> None:
    run("chat.txt", "-o", "out.jsonl")
    assert sorted(path.name for path in place.iterdir()) == ["chat.txt", "out.jsonl"]


def test_label_with_a_memory_recognises_the_speaker_in_a_later_run(place: Path) -> None:
    (place / "next.txt").write_text("Ana: It hurts.\nCleo: Okay.\n", encoding="utf-8")
    first = records(run("chat.txt", "--memory", "speakers.db").stdout)
    second = records(run("next.txt", "--memory", "speakers.db").stdout)
    assert [one["history"] for one in second] == [
        {"utterances": 2, "conversations": 1},
        {"utterances": 0, "conversations": 0},
    ]
    assert second[0]["speaker_id"] == first[0]["speaker_id"] is not None


def test_label_same_file_again_gives_the_same_output(place: Path) -> None:
    first, again = (run("chat.txt", "--memory", "speakers.db").stdout for _ in range(2))
    assert first == again


def test_label_resolves_aliases_of_a_name_file(place: Path) -> None:
    (place / "names.yaml").write_text("Ana: [Ana Lima]\n", encoding="utf-8")
    (place / "next.txt").write_text("Ana Lima: It hurts.\n", encoding="utf-8")
    for name in ("chat.txt", "next.txt"):
        found = records(run(name, "--memory", "speakers.db", "--names", "names.yaml").stdout)
    assert found[0]["history"]["utterances"] == 2


def test_label_with_a_memory_labels_files_in_time_order_and_writes_them_in_input_order(
    place: Path,
) -> None:
    for day in (1, 2):
        (place / f"{day}.csv").write_text(
            f"speaker,text,timestamp\nAna,Okay.,2024-05-0{day}T10:00:00\n", encoding="utf-8"
        )
    held = run("2.csv", "1.csv", "--memory", "files.db")
    assert [(one["conversation_id"], one["history"]["utterances"]) for one in records(held.stdout)] == [
        ("2", 1),
        ("1", 0),
    ]
    rows = "conversation_id,speaker,text,timestamp\n2,Ana,Okay.,2024-05-02\n1,Ana,Okay.,2024-05-01\n"
    piped = run("-", "--memory", "pipe.db", stdin=rows)
    assert [one["history"]["utterances"] for one in records(piped.stdout)] == [0, 0]
    assert "begins before" not in held.stderr
    assert "1: begins before" in piped.stderr


def test_label_keeps_tenants_of_one_memory_separate() -> None:
    run("chat.txt", "--memory", "speakers.db", "--tenant", "one")
    other = records(run("chat.txt", "--memory", "speakers.db", "--tenant", "two").stdout)
    assert [one["history"]["utterances"] for one in other] == [0, 0, 1]


def test_label_rejects_a_name_file_without_a_memory() -> None:
    assert "give --memory too" in str(failure(run("chat.txt", "--names", "names.yaml")))


@pytest.mark.parametrize(
    ("options", "told"),
    [(("--tenant", "one"), "give --memory too"), (("--uncertainty", "off"), "draws none")],
)
def test_label_rejects_options_without_effect(options: tuple[str, ...], told: str) -> None:
    error = failure(run("chat.txt", *options))
    assert isinstance(error, ConfigError)
    assert told in str(error)


def test_label_columns_with_a_comma_can_be_mapped(place: Path) -> None:
    (place / "calls.csv").write_text('who,"me,ssage"\nAna,Okay.\n', encoding="utf-8")
    found = records(run("calls.csv", "--map", "text=me,ssage,speaker=who").stdout)
    assert [(one["speaker"], one["text"]) for one in found] == [("Ana", "Okay.")]


def test_label_rejects_an_unknown_output_suffix_without_naming_an_absent_option() -> None:
    error = failure(run("chat.txt", "-o", "out.xlsx", model="nothing-like-it"))
    assert isinstance(error, InputError)
    assert ".jsonl" in str(error)
    assert "name a format" not in str(error)


@pytest.mark.parametrize("memory", [(), ("--memory", "speakers.db")])
def test_label_rejects_captions_of_turns_without_times_before_labelling(
    memory: tuple[str, ...], place: Path
) -> None:
    (place / "timed.txt").write_text("[00:00:01] Ana: Okay.\n", encoding="utf-8")
    error = failure(run("timed.txt", "chat.txt", "-o", "out.vtt", *memory))
    assert "chat.txt:1: this turn has no start" in str(error)
    assert sorted(path.name for path in place.iterdir()) == ["chat.txt", "timed.txt"]
    assert run("timed.txt", "-o", "out.vtt", *memory).exit_code == 0


def test_label_error_for_an_emotion_set_without_a_map_names_its_source() -> None:
    assert "goemotions comes from the utterance classifier" in str(
        failure(run("chat.txt", "--emotions", "emorynlp"))
    )


def test_label_strict_error_does_not_mention_skipping(place: Path) -> None:
    (place / "log.jsonl").write_text(
        '{"speaker": "Ana", "text": "Okay."}\n{"speaker": "A\x01", "text": "No."}\n', encoding="utf-8"
    )
    assert (
        str(failure(run("log.jsonl", "--strict")))
        == "log.jsonl:2: not JSON (Invalid control character at column 15)"
    )
    assert "column 15): skipped" in run("log.jsonl").stderr
