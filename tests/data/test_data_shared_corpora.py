"""The published figures of the real train and dev files."""

import json
from pathlib import Path

import pytest

from erc.data.corpora import chronological, load_corpus, summarise
from erc.data.leaks import LeakFilter, load_held_out

pytestmark = pytest.mark.corpora


@pytest.mark.parametrize(
    ("name", "split", "episodes", "conversations", "utterances"),
    [
        ("emorynlp", "train", 77, 713, 9934),
        ("emorynlp", "dev", 11, 99, 1344),
        ("meld", "train", None, 1038, 9989),
        ("meld", "dev", None, 114, 1109),
        ("goemotions", "train", None, 43410, 43410),
        ("goemotions", "dev", None, 5426, 5426),
    ],
)
def test_split_has_its_published_size(
    data_root: Path, name: str, split: str, episodes: int | None, conversations: int, utterances: int
) -> None:
    summary = summarise(load_corpus(name, split, root=data_root))
    assert (summary.conversations, summary.utterances) == (conversations, utterances)
    assert episodes in (None, summary.episodes)


@pytest.mark.parametrize(
    ("name", "folder_file"),
    [("emorynlp", "emotion-detection-trn.json"), ("meld", "train_sent_emo.csv"), ("goemotions", "train.tsv")],
)
def test_checksums_equal_those_recorded_with_the_corpora(
    data_root: Path, name: str, folder_file: str
) -> None:
    record = data_root / "SHA256SUMS"
    if not record.is_file():
        pytest.skip("this data root records no checksums")
    recorded = dict(reversed(line.split()) for line in record.read_text(encoding="utf-8").splitlines())
    assert load_corpus(name, "train", root=data_root).files[0].sha256 == recorded[f"{name}/{folder_file}"]


def test_emorynlp_dev_keeps_five_turns_of_several_speakers(data_root: Path) -> None:
    corpus = load_corpus("emorynlp", "dev", root=data_root)
    assert sum(len(turn.speakers) > 1 for conversation in corpus.conversations for turn in conversation) == 5


def test_emorynlp_scenes_are_in_broadcast_order(data_root: Path) -> None:
    conversations = load_corpus("emorynlp", "train", root=data_root).conversations
    assert chronological(conversations) == conversations


def test_meld_train_lacks_dialogue_sixty(data_root: Path) -> None:
    corpus = load_corpus("meld", "train", root=data_root)
    assert [entry.detail for entry in corpus.anomalies if entry.kind == "missing_dialogue"] == [
        "Dialogue_ID 60 is absent"
    ]


def test_meld_texts_have_no_misread_characters(data_root: Path) -> None:
    corpus = load_corpus("meld", "train", root=data_root)
    assert not [
        turn
        for c in corpus.conversations
        for turn in c
        if any(0x80 <= ord(character) < 0xA0 for character in turn.text)
    ]


@pytest.mark.parametrize(
    ("train", "evaluated", "dropped"), [("meld", "emorynlp", 42), ("emorynlp", "meld", 82)]
)
def test_leak_filter_drops_the_published_number(
    data_root: Path, train: str, evaluated: str, dropped: int
) -> None:
    held_out = [
        split for split in load_held_out(data_root / "heldout_hashes.json") if split.corpus == evaluated
    ]
    _, report = LeakFilter.of(held_out).apply(load_corpus(train, "train", root=data_root).conversations)
    assert report.dropped == dropped


def test_hash_file_names_all_three_test_splits(data_root: Path) -> None:
    splits = load_held_out(data_root / "heldout_hashes.json")
    assert {(split.corpus, split.split) for split in splits} == {
        (name, "test") for name in ("emorynlp", "meld", "goemotions")
    }
    assert json.loads((data_root / "heldout_hashes.json").read_text(encoding="utf-8"))["about"]
