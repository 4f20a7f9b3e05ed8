"""The result of labelling: a sequence, a table, and conversions."""

from __future__ import annotations

import builtins
import csv
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import erc
from erc.errors import ConvemoError, InputError

CHAT = "Ana: I am so happy to see you again!\nBen: No.\nAna: Why did nobody tell me?\n"


@pytest.fixture(scope="module")
def result(predictor: erc.LoadedPredictor) -> erc.LabelResult:
    return predictor.label(CHAT)


def test_result_is_a_sequence_of_turns(result: erc.LabelResult) -> None:
    assert len(result) == 3
    assert [turn.speaker for turn in result] == ["Ana", "Ben", "Ana"]
    assert result[1].text == "No."
    assert [turn.text for turn in result[1:]] == [turn.text for turn in list(result)[1:]]
    assert [len(one.predictions) for one in result.conversations] == [3]


def test_turn_and_record_name_uncertainty_alike(result: erc.LabelResult) -> None:
    turn = result[0]
    record = turn.to_record()["uncertainty"]
    assert turn.uncertainty._asdict() == pytest.approx(record, abs=5e-5)
    assert turn.uncertainty.total == turn.total


def test_review_returns_the_turns_for_review_least_certain_first(result: erc.LabelResult) -> None:
    [labelled] = result.conversations
    made = zip(labelled.predictions, ("review", "accept", "review"), (0.3, 0.9, 0.7), strict=True)
    turns = tuple(replace(turn, decision=decision, total=total) for turn, decision, total in made)
    assert erc.LabelResult([replace(labelled, predictions=turns)]).review == [turns[2], turns[0]]


def test_jsonl_is_the_same_in_a_file_and_as_text(result: erc.LabelResult, tmp_path: Path) -> None:
    text = result.to_jsonl()
    assert text is not None
    assert [json.loads(line) for line in text.splitlines()] == result.to_dict()
    assert result.to_jsonl(tmp_path / "out.jsonl") is None
    assert (tmp_path / "out.jsonl").read_text(encoding="utf-8") == text


def test_data_frame_has_the_columns_and_values_of_the_csv(result: erc.LabelResult, tmp_path: Path) -> None:
    frame = result.to_pandas()
    result.save(tmp_path / "out.csv")
    with (tmp_path / "out.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert list(frame.columns) == list(rows[0])
    for column in ("speaker", "emotion", "uncertainty_epistemic", "history_utterances"):
        assert [str(value) for value in frame[column]] == [row[column] for row in rows]
    assert frame["probabilities"][0] == json.loads(rows[0]["probabilities"])


def test_data_frame_without_pandas_names_the_package(
    result: erc.LabelResult, monkeypatch: pytest.MonkeyPatch
) -> None:
    imported = builtins.__import__

    def without(name: str, *arguments: Any, **named: Any) -> Any:
        if name == "pandas":
            raise ImportError(name)
        return imported(name, *arguments, **named)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(ConvemoError, match="pip install pandas"):
        result.to_pandas()


def test_save_rejects_a_suffix_of_no_format(result: erc.LabelResult, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="suffix"):
        result.save(tmp_path / "out.xlsx")
    with pytest.raises(InputError):
        result.save(tmp_path / "out.vtt")
    assert list(tmp_path.glob("out*")) == []


def test_print_shows_every_turn_in_a_table_without_colour_codes(result: erc.LabelResult) -> None:
    shown = str(result)
    assert "\x1b" not in shown
    assert all(word in shown for word in ("speaker", "emotion", "Ana", "Why did nobody tell me?"))
    assert shown.splitlines()[-1].startswith("3 turns, 1 conversation, ")
    assert max(map(len, shown.splitlines())) <= 130


def test_print_of_a_long_result_counts_the_turns_left_out(predictor: erc.LoadedPredictor) -> None:
    shown = str(predictor.label([("Ana", f"No {number}.") for number in range(104)]))
    assert "No 99." in shown
    assert "No 100." not in shown
    assert "4 more turns are not shown" in shown


def test_notebook_table_escapes_transcript_text(predictor: erc.LoadedPredictor) -> None:
    hostile = [("<b>Ana</b>", "<script>alert('x')</script> & \u202e\x1b[31m")]
    shown = predictor.label(hostile, conversation_id="<img src=x>")._repr_html_()
    assert "<script" not in shown
    assert "<img" not in shown
    assert "<b>" not in shown
    assert "&lt;script&gt;alert(&#x27;x&#x27;)&lt;/script&gt; &amp; &lt;U+202E&gt;&lt;U+001B&gt;[31m" in shown


def test_repr_counts_turns_and_problems(predictor: erc.LoadedPredictor) -> None:
    shown = repr(predictor.label([("Ana", "No."), ("Ben", "")]))
    assert shown.startswith("<LabelResult: 1 turn, 1 conversation, ")
    assert shown.endswith(", 1 problem in the input>")
