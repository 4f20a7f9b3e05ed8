"""SemEval-2018 Task 1 E-c: tab-separated ID, Tweet and eleven columns of 0 or 1.

Each tweet is a conversation of one turn by `anonymous`. A tweet without labels is neutral; its `emotions` are
empty.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from erc.data.conversation import Conversation, Utterance
from erc.data.corpora.corpus import AnomalyLog, Corpus, corpus_file, read_text
from erc.data.corpora.hub import one_line, write_lines
from erc.data.corpora.spec import CorpusLayout, CorpusSpec, HubCopy
from erc.emotions import load_emotion_set
from erc.errors import InputError

NAME = "semeval2018"
SPEAKER = "anonymous"


def read_semeval2018(path: Path, split: str) -> Corpus:
    """Read the tweets of one file, in file order.

    Raises:
        InputError: for a wrong header, a wrong number of fields, or a cell other than 0 and 1; names the
        line.
            The unlabelled test file has NONE in these cells, and only the gold file can be read.
    """
    emotions = load_emotion_set(NAME)
    log = AnomalyLog()
    rows = read_text(path, log).split("\n")
    header = rows[0].rstrip("\r").split("\t")
    if [name.strip().casefold() for name in header] != ["id", "tweet", *emotions.labels]:
        raise InputError(f"the header must read ID, Tweet, {', '.join(emotions.labels)}", path=path, line=1)
    conversations: list[Conversation] = []
    for number, row in enumerate(rows[1:], start=2):
        if not row.strip():
            continue
        fields = row.rstrip("\r").split("\t")
        if len(fields) != len(header):
            raise InputError(
                f"{len(fields)} tab-separated fields instead of {len(header)}", path=path, line=number
            )
        identifier, text, *cells = fields
        if not set(cells) <= {"0", "1"}:
            hint = "; NONE marks the test file without labels, read the gold file" if "NONE" in cells else ""
            raise InputError(
                f"labels must be 0 or 1, got {sorted(set(cells) - {'0', '1'})}{hint}", path=path, line=number
            )
        labels = tuple(label for label, cell in zip(emotions.labels, cells, strict=True) if cell == "1")
        if not labels:
            log.add(
                "no_label",
                "kept",
                "tweets without any of the eleven labels (neutral)",
                where=f"line {number}",
            )
        turn = Utterance(utterance_id=identifier, index=0, speaker=SPEAKER, text=text, emotions=labels)
        conversations.append(
            Conversation(conversation_id=f"{NAME}-{identifier}", utterances=(turn,), corpus=NAME)
        )
    return Corpus(NAME, split, tuple(conversations), NAME, "E-c English", log.report(), (corpus_file(path),))


def _recognises(path: Path, head: str) -> bool:
    header, _, rows = head.partition("\n")
    return header.casefold().startswith("id\ttweet\t") and "\tNONE" not in rows.split("\n", 1)[0]


def _write_hub_rows(rows: Iterable[Mapping[str, Any]], folder: Path, split: str) -> Path:
    labels = load_emotion_set(NAME).labels
    body = (
        "\t".join([row["ID"], one_line(row["Tweet"]), *(str(int(row[label])) for label in labels)])
        for row in rows
    )
    return write_lines(folder / f"2018-E-c-En-{split}.txt", ["\t".join(["ID", "Tweet", *labels]), *body])


SEMEVAL2018 = CorpusSpec(
    name=NAME,
    emotion_set=NAME,
    licence="SemEval-2018 Task 1 E-c: no clear licence",
    layouts=(CorpusLayout(suffix=".txt", recognises=_recognises, read=read_semeval2018),),
    hub=HubCopy(
        repository="SemEvalWorkshop/sem_eval_2018_task_1",
        configuration="subtask5.english",
        revision="refs/convert/parquet",
        write=_write_hub_rows,
    ),
    names_speakers=False,
)
