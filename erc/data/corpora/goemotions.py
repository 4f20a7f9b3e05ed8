"""GoEmotions in its official 'simplified' TSV layout: text, label ids, comment id; no header.

The corpus holds no dialogues: every comment is a conversation of one turn, spoken by `anonymous`. Authors are
not in these files, and one shared name that nobody owns keeps a speaker memory from joining strangers.
"""

from __future__ import annotations

from pathlib import Path

from erc.data.conversation import Conversation, Utterance
from erc.data.corpora.corpus import AnomalyLog, Corpus, corpus_file, read_text
from erc.emotions import EmotionSet, load_emotion_set
from erc.errors import InputError

NAME = "goemotions"
SPEAKER = "anonymous"


def read_goemotions(path: Path, split: str) -> Corpus:
    """The comments of one TSV file, in file order.

    An `emotions.txt` beside the file must list the labels in the order the ids count. Raises InputError
    naming the line when a row has not three fields, an id is no label, or a comment id stands twice.
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
                f"{len(fields)} tab-separated fields where text, label ids and comment id should stand",
                path=path,
                line=number,
            )
        text, ids, comment = fields
        if comment in seen:
            raise InputError(f"comment id {comment} stands twice", path=path, line=number)
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
            f"not the labels of '{NAME}' in their order (id {odd} differs): the ids of the split would be misread",
            path=path,
        )
