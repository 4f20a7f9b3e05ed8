from pathlib import Path

import pytest

from erc.errors import ConfigError, InputError
from erc.evaluation.labelled_data import load_gold


def write(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8")
    return path


def test_gold_corpus_file_is_recognised_with_its_split_and_checksum(tmp_path: Path) -> None:
    gold = load_gold(str(write(tmp_path / "test.tsv", "fine\t0\ta\nbad\t2,3\tb\n")), model_set="goemotions")
    matrix, labelled = gold.targets()
    assert (gold.name, gold.split, gold.emotions.name) == ("goemotions", "test", "goemotions")
    assert [tuple(row.nonzero()[0]) for row in matrix] == [(0,), (2, 3)]
    assert labelled.all()
    assert [len(sha256) for sha256 in gold.files.values()] == [64]


def test_gold_corpus_by_name_is_read_from_the_root(tmp_path: Path) -> None:
    (tmp_path / "goemotions").mkdir()
    write(tmp_path / "goemotions" / "dev.tsv", "fine\t0\ta\n")
    assert len(load_gold("goemotions", model_set="goemotions", root=tmp_path).turns()) == 1


def test_gold_folder_reads_the_file_of_the_split(tmp_path: Path) -> None:
    write(tmp_path / "train.tsv", "one\t0\ta\n")
    write(tmp_path / "dev.tsv", "two\t1\tb\n")
    assert [turn.text for turn in load_gold(str(tmp_path), model_set="goemotions", split="dev").turns()] == [
        "two"
    ]
    with pytest.raises(InputError, match="'test' split"):
        load_gold(str(tmp_path), model_set="goemotions", split="test")


def test_gold_transcript_uses_the_smallest_set_with_its_labels(tmp_path: Path) -> None:
    path = write(tmp_path / "chat.csv", "speaker,text,emotion\nAna,hello,joy\nBen,no!,Anger\nAna,oh,\n")
    gold = load_gold(str(path), model_set="goemotions")
    matrix, labelled = gold.targets()
    assert gold.emotions.name == "ekman"
    assert [gold.emotions.labels[i] for i in matrix[labelled].argmax(axis=1)] == ["joy", "anger"]
    assert labelled.tolist() == [True, True, False]
    assert any("--emotions" in note for note in gold.notes)


def test_gold_transcript_with_several_labels_per_turn_uses_a_multilabel_set(tmp_path: Path) -> None:
    path = write(tmp_path / "chat.csv", "speaker,text,emotion\nAna,hello,joy|surprise\n")
    assert load_gold(str(path), model_set="goemotions").emotions.name == "goemotions"


def test_gold_unknown_label_is_reported_with_file_and_line(tmp_path: Path) -> None:
    path = write(tmp_path / "chat.csv", "speaker,text,emotion\nAna,hello,joy\nBen,hm,hungry\n")
    with pytest.raises(InputError, match=r"chat\.csv:3: 'hungry' is not an emotion of 'goemotions'"):
        load_gold(str(path), model_set="goemotions").targets()


def test_gold_two_labels_in_an_exclusive_set_are_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "chat.csv", "speaker,text,emotion\nAna,hello,joy|fear\n")
    with pytest.raises(InputError, match=r"chat\.csv:2: joy and fear are on one turn"):
        load_gold(str(path), model_set="goemotions", emotions="ekman").targets()


def test_gold_transcript_without_labels_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "chat.csv", "speaker,text\nAna,hello\n")
    with pytest.raises(InputError, match="no turn has a gold label"):
        load_gold(str(path), model_set="goemotions").targets()


def test_gold_refuses_an_emotion_set_for_a_corpus(tmp_path: Path) -> None:
    path = write(tmp_path / "test.tsv", "fine\t0\ta\n")
    with pytest.raises(ConfigError, match="leave --emotions away"):
        load_gold(str(path), model_set="goemotions", emotions="ekman")


def test_gold_of_missing_data_lists_the_corpora() -> None:
    with pytest.raises(InputError, match=r"no such file, and no corpus of that name .*meld"):
        load_gold("nowhere.csv", model_set="goemotions")


def test_gold_limit_keeps_whole_conversations(tmp_path: Path) -> None:
    rows = "".join(f"{c},Ana,turn {c} {t},joy\n" for c in "abc" for t in range(3))
    path = write(tmp_path / "chat.csv", "conversation,speaker,text,emotion\n" + rows)
    gold = load_gold(str(path), model_set="goemotions", limit=4)
    assert [len(conversation) for conversation in gold.conversations] == [3, 3]
    assert any("first 6 turns" in note for note in gold.notes)
