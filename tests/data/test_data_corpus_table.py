"""A corpus needs only its entry in the table to work everywhere."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from erc.cli.data import app
from erc.data.conversation import Conversation, Utterance
from erc.data.corpora import CORPORA, Corpus, CorpusLayout, CorpusSpec, load_corpus
from erc.data.corpora.corpus import corpus_file
from erc.data.corpora.importing import import_corpus
from erc.data.identity import is_stranger
from erc.data.leaks import HeldOut, LeakFilter
from erc.errors import InputError


def read_toy(path: Path, split: str) -> Corpus:
    rows = [line.split(";") for line in path.read_text(encoding="utf-8").splitlines()[1:]]
    turns = tuple(
        Utterance(f"toy-{index}", index, speaker, text, emotions=(emotion,))
        for index, (speaker, emotion, text) in enumerate(rows)
    )
    conversation = Conversation("toy-1", turns, corpus="toy", meta={"season": 1, "episode": 1})
    return Corpus("toy", split, (conversation,), "ekman", "first", (), (corpus_file(path),))


def toy_spec(**changes: object) -> CorpusSpec:
    layout = CorpusLayout(suffix=".toy", recognises=lambda _, head: head.startswith("#toy"), read=read_toy)
    fields: dict = {"name": "toy", "emotion_set": "ekman", "licence": "Toy: CC0", "layouts": (layout,)}
    return CorpusSpec(**fields | {"home": "example.org/toy"} | changes)


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setitem(CORPORA, "toy", toy_spec())
    path = tmp_path / "source" / "train.toy"
    path.parent.mkdir()
    path.write_text("#toy\nAna;joy;Hi.\nBen;anger;No.\n", encoding="utf-8")
    return path


def test_toy_corpus_is_imported_listed_and_loaded(file: Path, own_root: Path) -> None:
    runner = CliRunner()
    imported = runner.invoke(app, ["import", "toy", "--from", str(file)])
    assert "licence: Toy: CC0" in imported.stderr
    listed = json.loads(runner.invoke(app, ["list", "--json"]).stdout)
    assert {
        "corpus": "toy",
        "emotion_set": "ekman",
        "folder": str(own_root / "toy"),
        "splits": ["train"],
    } in listed
    corpus = load_corpus("toy", "train")
    assert [(turn.speaker, turn.emotions) for turn in corpus.conversations[0]] == [
        ("Ana", ("joy",)),
        ("Ben", ("anger",)),
    ]


def test_toy_corpus_is_checked(file: Path) -> None:
    checked = CliRunner().invoke(app, ["check", str(file), "--json"])
    (summary,) = json.loads(checked.stdout)
    assert (summary["corpus"], summary["split"], summary["utterances"], summary["labels"]["joy"]) == (
        "toy",
        "train",
        2,
        1,
    )


def test_toy_corpus_without_a_copy_on_the_hub_names_its_download_page(file: Path, own_root: Path) -> None:
    with pytest.raises(InputError, match=r"download it from example\.org/toy"):
        import_corpus("toy")


@pytest.mark.parametrize(("names_speakers", "stranger"), [(True, False), (False, True)])
def test_is_stranger_follows_the_corpus_table(
    monkeypatch: pytest.MonkeyPatch, names_speakers: bool, stranger: bool
) -> None:
    monkeypatch.setitem(CORPORA, "toy", toy_spec(names_speakers=names_speakers))
    assert is_stranger("toy", "Ana") is stranger


@pytest.mark.parametrize(("series", "kept"), [("Friends", 0), ("Seinfeld", 1), (None, 1)])
def test_held_out_episodes_apply_to_corpora_of_the_same_series(
    file: Path, monkeypatch: pytest.MonkeyPatch, series: str | None, kept: int
) -> None:
    monkeypatch.setitem(CORPORA, "toy", toy_spec(series=series))
    held_out = HeldOut("emorynlp", "test", frozenset(), frozenset({"s01_e01"}))
    assert len(LeakFilter.of([held_out]).apply(read_toy(file, "train").conversations)[0]) == kept


def test_held_out_episodes_follow_the_corpus_table(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert HeldOut.of(read_toy(file, "dev")).episodes == frozenset()
    monkeypatch.setitem(CORPORA, "toy", toy_spec(split_by_episode=True))
    assert HeldOut.of(read_toy(file, "dev")).episodes == {"s01_e01"}


def test_every_corpus_has_an_emotion_set_and_a_source() -> None:
    from erc.emotions import emotion_sets

    assert {spec.emotion_set for spec in CORPORA.values()} <= set(emotion_sets())
    assert all(spec.hub or spec.home for spec in CORPORA.values())
    assert all(name == spec.name for name, spec in CORPORA.items())
