"""SemEval-2018 Task 1 E-c: tab-separated ID, Tweet and eleven columns of 0 or 1.

Every tweet is a conversation of one turn by `anonymous`; a tweet without any label is neutral and keeps an
empty tuple.
"""

from __future__ import annotations

from pathlib import Path

from erc.data.conversation import Conversation, Utterance
from erc.data.corpora.corpus import AnomalyLog, Corpus, corpus_file, read_text
from erc.emotions import load_emotion_set
from erc.errors import InputError

NAME = "semeval2018"
SPEAKER = "anonymous"


def read_semeval2018(path: Path, split: str) -> Corpus:
    """The tweets of one file, in file order.

    Raises InputError naming the line for a wrong header or a cell other than 0 and 1; the unlabelled test
    file has NONE there, and the gold file is the one to read.
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
                f"{len(fields)} tab-separated fields where {len(header)} should stand", path=path, line=number
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
