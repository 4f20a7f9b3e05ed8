"""DailyDialog: the text files of the original archive, and the Parquet files of the hub.

The corpus does not name speakers. Two people speak alternately, so they are called `A` and `B`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from erc.data.conversation import Conversation, Utterance
from erc.data.corpora.corpus import AnomalyLog, Corpus, corpus_file, read_text
from erc.data.corpora.spec import CorpusLayout, CorpusSpec, HubCopy
from erc.emotions import load_emotion_set
from erc.errors import InputError

NAME = "dailydialog"
END = "__eou__"
_TEXT_COLUMNS = ("dialog", "utterances")
_EMOTION_COLUMNS = ("emotion", "emotions")


def read_dailydialog(path: Path, split: str) -> Corpus:
    """Read one split from a Parquet file, or from a text file with its emotion file beside it.

    In a text file `__eou__` ends each turn. The emotion file is named after it: `dialogues_text.txt` has
    `dialogues_emotion.txt`, `dialogues_train.txt` has `dialogues_emotion_train.txt`. If a dialogue has more
    or fewer labels than turns, it is dropped and reported.

    Raises:
        InputError: for a missing emotion file, files of different length, or an unknown label id; names the
            line.
    """
    log = AnomalyLog()
    files: tuple[Path, ...] = (path,)
    if path.suffix == ".parquet":
        dialogues = _read_parquet(path)
    else:
        beside = emotion_file(path)
        if not beside.is_file():
            raise InputError(f"the emotion labels {beside.name} are missing beside it", path=path)
        dialogues, files = _read_texts(path, beside, log), (path, beside)
    conversations = []
    for number, (texts, ids) in enumerate(dialogues):
        identifier = f"{NAME}-{split}-{number:05d}"
        if len(texts) != len(ids):
            log.add(
                "label_count",
                "dropped",
                "dialogues with another number of labels than turns",
                where=f"line {number + 1}",
            )
            continue
        conversations.append(
            Conversation(identifier, _turns(identifier, texts, ids, path, number + 1), corpus=NAME)
        )
    return Corpus(
        NAME,
        split,
        tuple(conversations),
        NAME,
        "original",
        log.report(),
        tuple(corpus_file(file) for file in files),
    )


def emotion_file(path: Path) -> Path:
    """The path of the labels of a text file."""
    stem = path.stem.replace("dialogues_text", "dialogues_emotion")
    if stem == path.stem:
        stem = path.stem.replace("dialogues_", "dialogues_emotion_", 1)
    return path.with_name(stem + path.suffix)


def _turns(
    identifier: str, texts: Sequence[str], ids: Sequence[int], path: Path, line: int
) -> tuple[Utterance, ...]:
    labels = load_emotion_set(NAME).labels
    if not all(0 <= label < len(labels) for label in ids):
        raise InputError(
            f"label ids {list(ids)} must be between 0 and {len(labels) - 1}", path=path, line=line
        )
    return tuple(
        Utterance(
            utterance_id=f"{identifier}-{index:02d}",
            index=index,
            speaker="AB"[index % 2],
            text=text.strip(),
            emotions=(labels[label],),
        )
        for index, (text, label) in enumerate(zip(texts, ids, strict=True))
    )


def _read_texts(path: Path, beside: Path, log: AnomalyLog) -> list[tuple[list[str], list[int]]]:
    lines = [line for line in read_text(path, log).split("\n") if line.strip()]
    labels = [line for line in read_text(beside, log).split("\n") if line.strip()]
    if len(lines) != len(labels):
        raise InputError(f"{len(lines)} dialogues, but {beside.name} has {len(labels)} lines", path=path)
    dialogues = []
    for number, (line, numbers) in enumerate(zip(lines, labels, strict=True), start=1):
        turns = [turn for turn in line.split(END) if turn.strip()]
        try:
            dialogues.append((turns, [int(label) for label in numbers.split()]))
        except ValueError:
            raise InputError(
                f"labels must be whole numbers, got {numbers!r}", path=beside, line=number
            ) from None
    return dialogues


def _read_parquet(path: Path) -> list[tuple[list[str], list[int]]]:
    import pyarrow.parquet as pq  # reading text files needs no Arrow

    table = pq.read_table(path)
    text, emotion = (_column(names, table.column_names, path) for names in (_TEXT_COLUMNS, _EMOTION_COLUMNS))
    return list(zip(table[text].to_pylist(), table[emotion].to_pylist(), strict=True))


def _column(names: Iterable[str], there: Sequence[str], path: Path) -> str:
    for name in names:
        if name in there:
            return name
    raise InputError(f"none of the columns {', '.join(names)} is in it; it has {', '.join(there)}", path=path)


def _recognises_text(path: Path, head: str) -> bool:
    return "dialogues_" in path.name and END in head


def _recognises_parquet(path: Path, head: str) -> bool:
    import pyarrow.parquet as pq  # only Parquet files need Arrow

    try:
        columns = set(pq.read_schema(path).names)
    except (OSError, ValueError):
        return False
    return {"dialog", "emotion"} <= columns or {"utterances", "emotions"} <= columns


def _write_hub_rows(rows: Iterable[Mapping[str, Any]], folder: Path, split: str) -> Path:
    import pyarrow as pa
    import pyarrow.parquet as pq

    records = [{"dialog": list(row["dialog"]), "emotion": list(row["emotion"])} for row in rows]
    path = folder / f"{split}.parquet"
    schema = pa.schema({"dialog": pa.list_(pa.string()), "emotion": pa.list_(pa.int64())})
    pq.write_table(pa.Table.from_pylist(records, schema=schema), path)
    return path


DAILYDIALOG = CorpusSpec(
    name=NAME,
    emotion_set=NAME,
    licence="DailyDialog: CC BY-NC-SA 4.0",
    layouts=(
        CorpusLayout(
            suffix=".txt",
            recognises=_recognises_text,
            read=read_dailydialog,
            companions=lambda path: (emotion_file(path),),
        ),
        CorpusLayout(suffix=".parquet", recognises=_recognises_parquet, read=read_dailydialog),
    ),
    hub=HubCopy(repository="OpenRL/daily_dialog", write=_write_hub_rows),
    names_speakers=False,
)
