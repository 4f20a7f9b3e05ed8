"""GoEmotions in its official 'simplified' TSV layout: text, label ids, comment id; no header.

The corpus has no dialogues: each comment is a conversation of one turn. The files do not name authors, so the
speaker of every comment is `anonymous`, a name that a speaker memory ignores.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from erc.data.conversation import Conversation, Utterance
from erc.data.corpora.corpus import AnomalyLog, Corpus, corpus_file, read_text
from erc.data.corpora.hub import one_line, write_lines
from erc.data.corpora.spec import CorpusLayout, CorpusSpec, HubCopy
from erc.emotions import EmotionSet, load_emotion_set
from erc.errors import InputError

NAME = "goemotions"
SPEAKER = "anonymous"
_LABEL_IDS = re.compile(r"\d+(,\d+)*")


def read_goemotions(path: Path, split: str) -> Corpus:
    """Read the comments of one TSV file, in file order.

    If there is an `emotions.txt` beside the file, it must list the labels in the order of their ids.

    Raises:
        InputError: for a row without three fields, an unknown label id, a repeated comment id, or another
        order
            of labels; names the line.
    """
    emotions = load_emotion_set(NAME)
    _check_order(path.with_name("emotions.txt"), emotions)
    log = AnomalyLog()
    conversations: list[Conversation] = []
    seen: set[str] = set()
    # Only \n ends a row: comments hold other characters that str.splitlines would break at.
    for number, row in enumerate(read_text(path, log).split("\n"), start=1):
        if not row.strip():
            continue
        fields = row.rstrip("\r").split("\t")
        if len(fields) != 3:
            raise InputError(
                f"{len(fields)} tab-separated fields instead of three (text, label ids, comment id)",
                path=path,
                line=number,
            )
        text, ids, comment = fields
        if comment in seen:
            raise InputError(f"comment id {comment} is repeated", path=path, line=number)
        seen.add(comment)
        labels = _labels(ids, emotions, path, number)
        if not text.strip():
            log.add("empty_utterance", "kept", "comments without text", where=f"line {number}")
        if emotions.neutral in labels and len(labels) > 1:
            log.add(
                "neutral_with_others",
                "kept",
                "comments labelled neutral and something else",
                where=f"line {number}",
            )
        turn = Utterance(utterance_id=comment, index=0, speaker=SPEAKER, text=text, emotions=labels)
        conversations.append(
            Conversation(conversation_id=f"{NAME}-{comment}", utterances=(turn,), corpus=NAME)
        )
    return Corpus(NAME, split, tuple(conversations), NAME, "simplified", log.report(), (corpus_file(path),))


def _labels(ids: str, emotions: EmotionSet, path: Path, line: int) -> tuple[str, ...]:
    try:
        positions = [int(field) for field in ids.split(",")]
        if min(positions) < 0:
            raise IndexError
        return tuple(emotions.labels[position] for position in positions)
    except (ValueError, IndexError):
        raise InputError(
            f"label ids {ids!r} are not comma-separated numbers from 0 to {len(emotions) - 1}",
            path=path,
            line=line,
        ) from None


def _check_order(path: Path, emotions: EmotionSet) -> None:
    if not path.is_file():
        return
    listed = tuple(path.read_text(encoding="utf-8").split())
    if listed != emotions.labels:
        pairs = enumerate(zip(listed, emotions.labels, strict=False))
        odd = next((i for i, (there, here) in pairs if there != here), min(len(listed), len(emotions)))
        raise InputError(
            f"not the labels of '{NAME}' in their order (id {odd} differs)",
            path=path,
        )


def _recognises(path: Path, head: str) -> bool:
    fields = head.split("\n", 1)[0].rstrip("\r").split("\t")
    return len(fields) == 3 and _LABEL_IDS.fullmatch(fields[1]) is not None


def _label_file(path: Path) -> tuple[Path, ...]:
    labels = path.with_name("emotions.txt")
    return (labels,) if labels.is_file() else ()


def _write_hub_rows(rows: Iterable[Mapping[str, Any]], folder: Path, split: str) -> Path:
    lines = (
        f"{one_line(row['text'])}\t{','.join(str(label) for label in row['labels'])}\t{row['id']}"
        for row in rows
    )
    return write_lines(folder / f"{split}.tsv", lines)


GOEMOTIONS = CorpusSpec(
    name=NAME,
    emotion_set=NAME,
    licence="GoEmotions: Apache-2.0 code, CC BY 4.0 data",
    layouts=(
        CorpusLayout(suffix=".tsv", recognises=_recognises, read=read_goemotions, companions=_label_file),
    ),
    hub=HubCopy(
        repository="google-research-datasets/go_emotions", configuration="simplified", write=_write_hub_rows
    ),
    names_speakers=False,
)
