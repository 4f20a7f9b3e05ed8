"""DailyDialog: the text files of the original archive, and the Parquet files of the hub.

Speakers are not named in the corpus; the two take turns, so they are `A` and `B`, names that mean nothing
outside their dialogue.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from erc.data.conversation import Conversation, Utterance
from erc.data.corpora.corpus import AnomalyLog, Corpus, corpus_file, read_text
from erc.emotions import load_emotion_set
from erc.errors import InputError

NAME = "dailydialog"
END = "__eou__"
_TEXT_COLUMNS = ("dialog", "utterances")
_EMOTION_COLUMNS = ("emotion", "emotions")


def read_dailydialog(path: Path, split: str) -> Corpus:
    """One split from `path`: a Parquet file, or a text file of `__eou__`-ended turns with its emotion file beside it.

    The emotion file is named after the text file (`dialogues_text.txt`: `dialogues_emotion.txt`,
    `dialogues_train.txt`: `dialogues_emotion_train.txt`). A dialogue with another number of labels than turns
    is dropped and reported, since no one can tell which label is missing. Raises InputError naming the line
    for files of different length or an unknown label id.
    """
    log = AnomalyLog()
    files: tuple[Path, ...] = (path,)
    if path.suffix == ".parquet":
        dialogues = _read_parquet(path)
    else:
        beside = emotion_file(path)
        if not beside.is_file():
            raise InputError(f"the emotion labels {beside.name} should lie beside it", path=path)
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
    """Where the labels of a text file lie."""
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
            f"label ids {list(ids)} must lie between 0 and {len(labels) - 1}", path=path, line=line
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
    import pyarrow.parquet as pq  # a reader of text files needs no Arrow

    table = pq.read_table(path)
    text, emotion = (_column(names, table.column_names, path) for names in (_TEXT_COLUMNS, _EMOTION_COLUMNS))
    return list(zip(table[text].to_pylist(), table[emotion].to_pylist(), strict=True))


def _column(names: Iterable[str], there: Sequence[str], path: Path) -> str:
    for name in names:
        if name in there:
            return name
    raise InputError(f"none of the columns {', '.join(names)} is in it; it has {', '.join(there)}", path=path)
