"""Every reader on a few invented lines with one irregularity each."""

import json
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from erc.data.corpora.corpus import Anomaly, Corpus
from erc.data.corpora.dailydialog import read_dailydialog
from erc.data.corpora.emorynlp import read_emorynlp, read_emorynlp_reduced
from erc.data.corpora.goemotions import read_goemotions
from erc.data.corpora.meld import read_meld
from erc.data.corpora.semeval2018 import read_semeval2018
from erc.errors import InputError

MELD_HEADER = (
    "Sr No.,Utterance,Speaker,Emotion,Sentiment,Dialogue_ID,Utterance_ID,Season,Episode,StartTime,EndTime"
)


def anomaly(corpus: Corpus, kind: str) -> Anomaly:
    (found,) = [entry for entry in corpus.anomalies if entry.kind == kind]
    return found


@pytest.fixture
def write(tmp_path: Path) -> Callable[..., Path]:
    def _write(name: str, *lines: str, encoding: str = "utf-8") -> Path:
        path = tmp_path / name
        path.write_bytes("".join(f"{line}\n" for line in lines).encode(encoding))
        return path

    return _write


def meld_row(
    text: str = "Hi.",
    speaker: str = "Ana",
    emotion: str = "joy",
    dialogue: int = 0,
    utterance: int = 0,
    start: str = "00:00:01,000",
) -> str:
    return f'1,"{text}",{speaker},{emotion},positive,{dialogue},{utterance},2,3,"{start}","00:10:00,5"'


def test_meld_row_becomes_a_turn_with_seconds_and_sentiment(write: Callable[..., Path]) -> None:
    corpus = read_meld(
        write("m.csv", MELD_HEADER, meld_row(start="1:02:03,250", dialogue=12, utterance=4)), "train"
    )
    (conversation,) = corpus.conversations
    (turn,) = conversation.utterances
    assert (conversation.conversation_id, turn.utterance_id, conversation.corpus) == (
        "meld-train-0012",
        "meld-train-0012-004",
        "meld",
    )
    assert (turn.start, turn.end) == (3723.25, 600.5)
    assert dict(conversation.meta) == {"season": 2, "episode": 3}
    assert (turn.emotions, turn.meta["sentiment"]) == (("joy",), "positive")


def test_meld_restores_misread_typographic_characters_and_counts_them(write: Callable[..., Path]) -> None:
    corpus = read_meld(write("m.csv", MELD_HEADER, meld_row("don\x92t \x93go\x94\x85 it\x92s \x96")), "train")
    assert corpus.conversations[0].utterances[0].text == "don’t “go”… it’s –"
    repaired = {entry.detail: entry.count for entry in corpus.anomalies if entry.kind == "mojibake"}
    assert repaired == {
        "U+0092 stood for ’": 2,
        "U+0093 stood for “": 1,
        "U+0094 stood for ”": 1,
        "U+0085 stood for …": 1,
        "U+0096 stood for –": 1,
    }


def test_meld_reads_a_windows_1252_file_and_reports_it(write: Callable[..., Path]) -> None:
    corpus = read_meld(write("m.csv", MELD_HEADER, meld_row("it’s"), encoding="cp1252"), "train")
    assert corpus.conversations[0].utterances[0].text == "it’s"
    assert anomaly(corpus, "encoding").action == "repaired"


def test_meld_keeps_an_empty_turn(write: Callable[..., Path]) -> None:
    corpus = read_meld(write("m.csv", MELD_HEADER, meld_row(""), meld_row("Hi.", utterance=1)), "dev")
    assert [turn.text for turn in corpus.conversations[0]] == ["", "Hi."]
    assert anomaly(corpus, "empty_utterance") == Anomaly(
        "empty_utterance", "kept", 1, "turns without text", "line 2"
    )


def test_meld_keeps_gaps_in_utterance_ids(write: Callable[..., Path]) -> None:
    corpus = read_meld(write("m.csv", MELD_HEADER, meld_row(), meld_row(utterance=3)), "dev")
    assert [turn.index for turn in corpus.conversations[0]] == [0, 1]
    assert corpus.conversations[0].utterances[1].utterance_id == "meld-dev-0000-003"
    assert anomaly(corpus, "id_gap").count == 1


def test_meld_names_a_missing_dialogue(write: Callable[..., Path]) -> None:
    corpus = read_meld(write("m.csv", MELD_HEADER, meld_row(), meld_row(dialogue=2)), "dev")
    assert anomaly(corpus, "missing_dialogue").detail == "Dialogue_ID 1 is absent"


def test_meld_reports_falling_start_times(write: Callable[..., Path]) -> None:
    corpus = read_meld(
        write(
            "m.csv", MELD_HEADER, meld_row(start="0:10:00,000"), meld_row(utterance=1, start="00:09:59,999")
        ),
        "dev",
    )
    assert anomaly(corpus, "time_order").count == 1


def test_meld_assigns_a_joint_turn_to_the_first_speaker(write: Callable[..., Path]) -> None:
    (turn,) = (
        read_meld(write("m.csv", MELD_HEADER, meld_row(speaker="Ana and Ben")), "dev")
        .conversations[0]
        .utterances
    )
    assert (turn.speaker, turn.speakers, turn.meta["speaker_as_written"]) == (
        "Ana",
        ("Ana", "Ben"),
        "Ana and Ben",
    )


def test_meld_dyadic_edition_is_marked(write: Callable[..., Path]) -> None:
    header = MELD_HEADER.replace("Sr No.", "Old_Dialogue_ID")
    corpus = read_meld(write("m.csv", header, meld_row()), "dev")
    assert corpus.edition == "dyadic"
    assert "not comparable" in (corpus.note or "")


@pytest.mark.parametrize(
    ("row", "complaint"),
    [
        (meld_row(emotion="bliss"), r"m\.csv:2: 'bliss' is not an emotion of 'meld'"),
        (meld_row(start="soon"), r"m\.csv:2: a time must read hh:mm:ss,mmm, got 'soon'"),
        (meld_row().replace(",2,3,", ",two,3,"), r"m\.csv:2: Season must be a whole number, got 'two'"),
        ("1,Hi", r"m\.csv:2: fewer fields"),
    ],
)
def test_meld_rejects_unreadable_rows_with_their_line(
    write: Callable[..., Path], row: str, complaint: str
) -> None:
    with pytest.raises(InputError, match=complaint):
        read_meld(write("m.csv", MELD_HEADER, row), "dev")


def test_meld_names_missing_columns(write: Callable[..., Path]) -> None:
    with pytest.raises(InputError, match=r"columns missing.*Sentiment"):
        read_meld(write("m.csv", MELD_HEADER.replace("Sentiment", "Mood"), meld_row()), "dev")


def emory(write: Callable[..., Path], *turns: dict, episode: str = "s01_e15") -> Path:
    scene = {"scene_id": f"{episode}_c01", "utterances": list(turns)}
    return write("e.json", json.dumps({"episodes": [{"episode_id": episode, "scenes": [scene]}]}))


def emory_turn(number: int = 1, **changes: object) -> dict:
    regular = {"speakers": ["Ana Gil"], "transcript": "Tea.", "tokens": [["Tea", "."]], "emotion": "Joyful"}
    return {"utterance_id": f"s01_e15_c01_u{number:03d}"} | regular | changes


def test_emorynlp_scene_becomes_a_conversation(write: Callable[..., Path]) -> None:
    (conversation,) = read_emorynlp(
        emory(write, emory_turn(1), emory_turn(2, emotion="Mad")), "train"
    ).conversations
    assert conversation.conversation_id == "s01_e15_c01"
    assert dict(conversation.meta) == {"season": 1, "episode": 15}
    assert [turn.emotions for turn in conversation] == [("joyful",), ("mad",)]


def test_emorynlp_assigns_a_joint_turn_to_the_first_speaker_and_keeps_the_list(
    write: Callable[..., Path],
) -> None:
    corpus = read_emorynlp(emory(write, emory_turn(speakers=["Ana Gil", "Ben Ode", "Ana Gil"])), "dev")
    (turn,) = corpus.conversations[0].utterances
    assert (turn.speaker, turn.speakers) == ("Ana Gil", ("Ana Gil", "Ben Ode"))
    assert anomaly(corpus, "joint_speakers").count == 1


def test_emorynlp_reads_turns_without_tokens_and_counts_them(write: Callable[..., Path]) -> None:
    bare = emory_turn()
    del bare["tokens"]
    assert anomaly(read_emorynlp(emory(write, bare, emory_turn(2)), "train"), "no_tokens").count == 1


def test_emorynlp_regular_file_has_no_anomaly(write: Callable[..., Path]) -> None:
    assert read_emorynlp(emory(write, emory_turn(1), emory_turn(2)), "train").anomalies == ()


def test_emorynlp_reports_a_turn_without_a_speaker(write: Callable[..., Path]) -> None:
    corpus = read_emorynlp(emory(write, emory_turn(speakers=[])), "train")
    assert corpus.conversations[0].speakers == ("unknown",)
    assert anomaly(corpus, "no_speaker").count == 1


def test_emorynlp_reports_episodes_out_of_order(write: Callable[..., Path]) -> None:
    episodes = [
        {"episode_id": name, "scenes": [{"scene_id": f"{name}_c01", "utterances": []}]}
        for name in ("s02_e01", "s01_e02")
    ]
    assert (
        anomaly(
            read_emorynlp(write("e.json", json.dumps({"episodes": episodes})), "train"), "episode_order"
        ).count
        == 1
    )


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"emotion": "Bliss"}, "s01_e15_c01_u001: 'Bliss' is not an emotion"),
        ({"speakers": "Ana"}, "s01_e15_c01_u001: 'speakers' must be a list"),
        ({"transcript": None}, "s01_e15_c01_u001: 'transcript' must be a text"),
    ],
)
def test_emorynlp_rejects_broken_turns_by_their_id(
    write: Callable[..., Path], changes: dict, complaint: str
) -> None:
    with pytest.raises(InputError, match=complaint):
        read_emorynlp(emory(write, emory_turn(**changes)), "train")


def test_emorynlp_rejects_a_file_without_episodes(write: Callable[..., Path]) -> None:
    with pytest.raises(InputError, match="'episodes' must be a list"):
        read_emorynlp(write("e.json", "[]"), "train")


REDUCED_HEADER = "Utterance,Speaker,Emotion,Scene_ID,Utterance_ID,Season,Episode,Start_Time,End_Time"


def test_emorynlp_reduced_edition_is_marked_not_comparable(write: Callable[..., Path]) -> None:
    corpus = read_emorynlp_reduced(
        write("r.csv", REDUCED_HEADER, "Tea.,\"['Ana Gil']\",Joyful,4,1,1,2,,"), "dev"
    )
    assert corpus.edition == "reduced"
    assert "not comparable" in (corpus.note or "")


def test_emorynlp_reduced_scenes_are_identified_by_season_episode_and_scene(
    write: Callable[..., Path],
) -> None:
    rows = [
        f"Tea.,\"['Ana Gil']\",Sad,1,{number},1,{episode},," for episode, number in ((1, 1), (1, 2), (2, 1))
    ]
    corpus = read_emorynlp_reduced(write("r.csv", REDUCED_HEADER, *rows), "dev")
    assert [(c.conversation_id, len(c)) for c in corpus.conversations] == [
        ("s01_e01_c01", 2),
        ("s01_e02_c01", 1),
    ]


def test_emorynlp_reduced_speaker_is_parsed_and_not_evaluated_as_code(write: Callable[..., Path]) -> None:
    with pytest.raises(InputError, match=r"r\.csv:2: Speaker must be a list"):
        read_emorynlp_reduced(
            write("r.csv", REDUCED_HEADER, "Tea.,\"__import__('os').getcwd()\",Sad,1,1,1,1,,"), "dev"
        )


def test_goemotions_comment_is_a_conversation_of_one_anonymous_turn(write: Callable[..., Path]) -> None:
    corpus = read_goemotions(
        write("train.tsv", 'He said "no"\x85 thanks\t3,15\tabc1', "Fine\t27\tabc2"), "train"
    )
    first = corpus.conversations[0]
    assert (first.conversation_id, first.speakers, len(first)) == ("goemotions-abc1", ("anonymous",), 1)
    assert first.utterances[0].text == 'He said "no"\x85 thanks'
    assert [c.utterances[0].emotions for c in corpus.conversations] == [
        ("annoyance", "gratitude"),
        ("neutral",),
    ]


def test_goemotions_reports_neutral_together_with_other_labels(write: Callable[..., Path]) -> None:
    assert (
        anomaly(read_goemotions(write("train.tsv", "Fine\t3,27\ta"), "train"), "neutral_with_others").count
        == 1
    )


@pytest.mark.parametrize(
    ("row", "complaint"),
    [
        ("Fine\t28\ta", "from 0 to 27"),
        ("Fine\t-1\ta", "from 0 to 27"),
        ("Fine\tjoy\ta", "from 0 to 27"),
        ("Fine\t27", "2 tab"),
    ],
)
def test_goemotions_rejects_bad_rows_with_their_line(
    write: Callable[..., Path], row: str, complaint: str
) -> None:
    with pytest.raises(InputError, match=rf"train\.tsv:2: .*{complaint}"):
        read_goemotions(write("train.tsv", "ok\t0\tz", row), "train")


def test_goemotions_rejects_a_repeated_comment_id(write: Callable[..., Path]) -> None:
    with pytest.raises(InputError, match="comment id a is repeated"):
        read_goemotions(write("train.tsv", "x\t0\ta", "y\t1\ta"), "train")


def test_goemotions_rejects_another_label_order_in_the_folder(write: Callable[..., Path]) -> None:
    write("emotions.txt", "amusement", "admiration")
    with pytest.raises(InputError, match="id 0 differs"):
        read_goemotions(write("train.tsv", "x\t0\ta"), "train")


SEMEVAL_HEADER = (
    "ID\tTweet\tanger\tanticipation\tdisgust\tfear\tjoy\tlove\toptimism\tpessimism\tsadness\tsurprise\ttrust"
)


def test_semeval_reads_labels_and_no_label_for_neutral(write: Callable[..., Path]) -> None:
    rows = ["t1\tyay\t0\t0\t0\t0\t1\t0\t1\t0\t0\t0\t0", "t2\tmeh\t" + "\t".join("0" * 11)]
    corpus = read_semeval2018(write("dev.txt", SEMEVAL_HEADER, *rows), "dev")
    assert [c.utterances[0].emotions for c in corpus.conversations] == [("joy", "optimism"), ()]
    assert anomaly(corpus, "no_label").count == 1


def test_semeval_rejects_the_file_without_labels(write: Callable[..., Path]) -> None:
    with pytest.raises(InputError, match=r"dev\.txt:2: .*read the gold file"):
        read_semeval2018(write("dev.txt", SEMEVAL_HEADER, "t1\tyay\t" + "\t".join(["NONE"] * 11)), "dev")


def test_semeval_rejects_columns_in_another_order(write: Callable[..., Path]) -> None:
    with pytest.raises(InputError, match=r"dev\.txt:1: the header"):
        read_semeval2018(
            write("dev.txt", SEMEVAL_HEADER.replace("anger\tanticipation", "anticipation\tanger")), "dev"
        )


def test_dailydialog_text_alternates_between_two_speakers(write: Callable[..., Path]) -> None:
    write("dialogues_emotion_train.txt", "0 4 6 ")
    corpus = read_dailydialog(
        write("dialogues_train.txt", "Tea ? __eou__ Yes ! __eou__ Oh . __eou__"), "train"
    )
    turns = corpus.conversations[0].utterances
    assert [turn.speaker for turn in turns] == ["A", "B", "A"]
    assert [turn.text for turn in turns] == ["Tea ?", "Yes !", "Oh ."]
    assert [turn.emotions[0] for turn in turns] == ["no_emotion", "happiness", "surprise"]
    assert [file.name for file in corpus.files] == ["dialogues_train.txt", "dialogues_emotion_train.txt"]


def test_dailydialog_drops_a_dialogue_with_a_missing_label(write: Callable[..., Path]) -> None:
    write("dialogues_emotion.txt", "0", "1 0")
    corpus = read_dailydialog(
        write("dialogues_text.txt", "a __eou__ b __eou__", "c __eou__ d __eou__"), "all"
    )
    assert [turn.text for c in corpus.conversations for turn in c] == ["c", "d"]
    assert (anomaly(corpus, "label_count").action, anomaly(corpus, "label_count").first) == (
        "dropped",
        "line 1",
    )


def test_dailydialog_rejects_files_of_different_length(write: Callable[..., Path]) -> None:
    write("dialogues_emotion.txt", "0")
    with pytest.raises(InputError, match=r"2 dialogues, but dialogues_emotion\.txt has 1"):
        read_dailydialog(write("dialogues_text.txt", "a __eou__", "b __eou__"), "all")


def test_dailydialog_error_names_the_missing_label_file(write: Callable[..., Path]) -> None:
    with pytest.raises(InputError, match=r"dialogues_emotion_dev\.txt are missing beside"):
        read_dailydialog(write("dialogues_dev.txt", "a __eou__"), "dev")


@pytest.mark.parametrize("columns", [("dialog", "emotion"), ("utterances", "emotions")])
def test_dailydialog_parquet_equals_the_text_file(tmp_path: Path, columns: tuple[str, str]) -> None:
    pq.write_table(
        pa.table({columns[0]: [["Tea ?", " Yes !"]], columns[1]: [[0, 4]], "act": [[1, 1]]}),
        tmp_path / "train.parquet",
    )
    (conversation,) = read_dailydialog(tmp_path / "train.parquet", "train").conversations
    assert [(turn.text, turn.emotions[0]) for turn in conversation] == [
        ("Tea ?", "no_emotion"),
        ("Yes !", "happiness"),
    ]


def test_dailydialog_rejects_an_unknown_label_id(write: Callable[..., Path]) -> None:
    write("dialogues_emotion.txt", "7")
    with pytest.raises(InputError, match="between 0 and 6"):
        read_dailydialog(write("dialogues_text.txt", "a __eou__"), "all")
