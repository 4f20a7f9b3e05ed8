import json
from pathlib import Path

import pytest

from erc.data.conversation import Conversation, Utterance
from erc.data.corpora import chronological, find_sources, load_corpus, sniff, summarise
from erc.data.corpora.corpus import split_of
from erc.data.corpora.inventory import check_path, list_corpora
from erc.data.corpora.registry import guess_split
from erc.data.root import corpus_dir, data_root, search_roots, user_data_dir
from erc.errors import InputError

SEMEVAL_HEADER = (
    "ID\tTweet\tanger\tanticipation\tdisgust\tfear\tjoy\tlove\toptimism\tpessimism\tsadness\tsurprise\ttrust"
    "\n"
)
MELD_HEADER = (
    "Sr No.,Utterance,Speaker,Emotion,Sentiment,Dialogue_ID,Utterance_ID,Season,Episode,StartTime,EndTime\n"
)
REDUCED_HEADER = "Utterance,Speaker,Emotion,Scene_ID,Utterance_ID,Season,Episode,Start_Time,End_Time\n"


def put(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return path


@pytest.fixture
def goemotions(own_root: Path) -> Path:
    put(own_root / "goemotions" / "train.tsv", "one\t0\ta\ntwo\t3,27\tb\n")
    put(own_root / "goemotions" / "dev.tsv", "three\t27\tc\n")
    return own_root / "goemotions"


@pytest.mark.parametrize(
    ("name", "text", "expected"),
    [
        ("train.tsv", "fine\t3,15\tabc\n", ("goemotions", "train")),
        ("dev_sent_emo.csv", MELD_HEADER, ("meld", "dev")),
        ("emorynlp_train_final.csv", REDUCED_HEADER, ("emorynlp", "train")),
        (
            "emotion-detection-tst.json",
            '{"episodes": [{"episode_id": "s01_e01", "scenes": []}]}',
            ("emorynlp", "test"),
        ),
        ("2018-E-c-En-test-gold.txt", SEMEVAL_HEADER + "t\tyay" + "\t0" * 11, ("semeval2018", "test")),
        ("validation/dialogues_text.txt", "a __eou__\n", ("dailydialog", "dev")),
        ("dialogues_text.txt", "a __eou__\n", ("dailydialog", "all")),
    ],
)
def test_sniff_recognises_each_layout_and_split(
    tmp_path: Path, name: str, text: str, expected: tuple[str, str]
) -> None:
    source = sniff(put(tmp_path / "x" / name, text))
    assert source is not None
    assert (source.corpus, source.split) == expected


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("notes.txt", "nothing\n"),
        ("table.tsv", "a\tb\tc\n"),
        ("table.csv", "a,b\n"),
        ("x.json", "{}"),
        ("2018-E-c-En-test.txt", SEMEVAL_HEADER + "t\tyay" + "\tNONE" * 11),
        ("bad.parquet", "no parquet"),
    ],
)
def test_sniff_ignores_other_files(tmp_path: Path, name: str, text: str) -> None:
    assert sniff(put(tmp_path / name, text)) is None


def test_guess_split_does_not_find_splits_inside_words(tmp_path: Path) -> None:
    assert guess_split(tmp_path / "latest" / "trainer_devices.csv") == "all"


def test_find_sources_lists_other_files_except_companions(goemotions: Path) -> None:
    (goemotions / "emotions.txt").write_text("x", encoding="utf-8")
    (goemotions / "README.md").write_text("x", encoding="utf-8")
    sources, ignored = find_sources(goemotions)
    assert [source.path.name for source in sources] == ["dev.tsv", "train.tsv"]
    assert [path.name for path in ignored] == ["README.md"]


def test_load_corpus_accepts_other_names_of_a_split(goemotions: Path) -> None:
    assert (
        load_corpus("goemotions", "validation").conversations
        == load_corpus("goemotions", "dev").conversations
    )


def test_load_corpus_error_lists_the_available_splits(goemotions: Path) -> None:
    with pytest.raises(
        InputError, match="no file of the 'test' split of goemotions; splits there: dev, train"
    ):
        load_corpus("goemotions", "test")


def test_load_corpus_error_for_an_absent_corpus_names_the_import_command(own_root: Path) -> None:
    with pytest.raises(InputError, match="erc data import meld"):
        load_corpus("meld", "train")


def test_load_corpus_rejects_unknown_names_and_splits(own_root: Path) -> None:
    with pytest.raises(InputError, match="no corpus 'iemocap'"):
        load_corpus("iemocap", "train")
    with pytest.raises(InputError, match="no split 'eval'"):
        load_corpus("meld", "eval")


def test_load_corpus_rejects_two_files_for_a_split(goemotions: Path) -> None:
    put(goemotions / "old" / "train.tsv", "x\t0\tz\n")
    with pytest.raises(InputError, match="2 files claim the 'train' split"):
        load_corpus("goemotions", "train")


def test_load_corpus_prefers_the_full_edition_of_emorynlp(own_root: Path) -> None:
    put(own_root / "emorynlp" / "emorynlp_train_final.csv", REDUCED_HEADER)
    assert load_corpus("emorynlp", "train").edition == "reduced"
    put(
        own_root / "emorynlp" / "emotion-detection-trn.json",
        json.dumps({"episodes": [{"episode_id": "s01_e01", "scenes": []}]}),
    )
    assert load_corpus("emorynlp", "train").edition == "full"


def test_load_corpus_rejects_a_file_changed_since_its_import(goemotions: Path) -> None:
    digest = load_corpus("goemotions", "dev").files[0].sha256
    put(goemotions / "SHA256SUMS", f"{digest}  dev.tsv\n")
    assert len(load_corpus("goemotions", "dev")) == 1
    put(goemotions / "dev.tsv", "changed\t27\tc\n")
    with pytest.raises(InputError, match=r"dev\.tsv: SHA-256 is .* import the corpus again"):
        load_corpus("goemotions", "dev")


def test_split_of_ignores_case() -> None:
    assert [split_of(name) for name in ("TRN", "Val", "tst")] == ["train", "dev", "test"]


def test_summary_counts_every_label_of_a_multi_label_turn(goemotions: Path) -> None:
    summary = summarise(load_corpus("goemotions", "train"))
    assert (summary.conversations, summary.utterances, summary.speakers, summary.episodes) == (2, 2, 1, None)
    assert {label: count for label, count in summary.labels.items() if count} == {
        "admiration": 1,
        "annoyance": 1,
        "neutral": 1,
    }
    assert len(summary.labels) == 28


def test_check_path_reads_one_file(goemotions: Path) -> None:
    (summary,) = check_path(goemotions / "dev.tsv").summaries
    assert (summary.corpus, summary.split) == ("goemotions", "dev")


def test_check_path_rejects_a_folder_without_corpora_and_a_missing_path(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no file of a known corpus"):
        check_path(tmp_path)
    with pytest.raises(InputError, match="no such file or folder"):
        check_path(tmp_path / "nowhere")


def test_list_corpora_lists_imported_splits(goemotions: Path) -> None:
    entries = {entry.corpus: entry for entry in list_corpora()}
    assert entries["goemotions"].splits == ("train", "dev")
    assert (entries["meld"].folder, entries["meld"].splits) == (None, ())


def test_data_root_prefers_the_argument_then_the_setting_then_the_user_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    monkeypatch.delenv("CONVEMO_DATA", raising=False)
    assert data_root() == user_data_dir() == tmp_path / "convemo" / "data"
    monkeypatch.setenv("CONVEMO_DATA", str(tmp_path / "set"))
    assert data_root() == tmp_path / "set"
    assert data_root(tmp_path / "given") == tmp_path / "given"


def test_user_data_dir_ignores_a_relative_xdg_setting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_DATA_HOME", "relative")
    assert user_data_dir() == Path.home() / ".local" / "share" / "convemo" / "data"


def test_search_roots_with_the_setting_have_no_other_folder(own_root: Path) -> None:
    assert search_roots() == (own_root,)


def test_checkout_sibling_is_searched_after_the_user_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    checkout = tmp_path / "checkout"
    put(checkout / "pyproject.toml", "")
    monkeypatch.setattr("erc.data.root._CHECKOUT", checkout)
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "xdg"))
    monkeypatch.delenv("CONVEMO_DATA", raising=False)
    sibling = tmp_path / "shared" / "data"
    (sibling / "meld").mkdir(parents=True)
    assert corpus_dir("meld") == sibling / "meld"
    (user_data_dir() / "meld").mkdir(parents=True)
    assert corpus_dir("meld") == user_data_dir() / "meld"


def conversation(name: str, season: int, episode: int, start: float | None) -> Conversation:
    turn = Utterance(f"{name}-0", 0, "Ana", "Hi.", start=start)
    return Conversation(name, (turn,), corpus="meld", meta={"season": season, "episode": episode})


def test_chronological_sorts_by_season_episode_and_start() -> None:
    given = [
        conversation("d", 2, 1, 0.0),
        conversation("c", 1, 10, 5.0),
        conversation("b", 1, 2, 90.0),
        conversation("a", 1, 2, 7.0),
    ]
    assert [c.conversation_id for c in chronological(given)] == ["a", "b", "c", "d"]


def test_chronological_keeps_file_order_without_times() -> None:
    given = [conversation("z", 1, 2, None), conversation("a", 1, 2, None), conversation("m", 1, 1, None)]
    assert [c.conversation_id for c in chronological(given)] == ["m", "z", "a"]
    plain = [Conversation("z", ()), Conversation("a", ())]
    assert chronological(plain) == tuple(plain)


def test_chronological_rejects_a_mixture_with_undated_conversations() -> None:
    with pytest.raises(InputError, match="1 of 2 conversations have no season"):
        chronological([conversation("a", 1, 1, None), Conversation("b", ())])
