"""MELD in its official CSV layout, with one row per utterance.

Dialogues keep the order of the file; `chronological` sorts them by broadcast. A joint turn ("Ross and
Rachel") belongs to the first one named. A role within a role ("Joey/Drake") is one name.
"""

from __future__ import annotations

import csv
import io
import re
from pathlib import Path
from typing import Any

from erc.data.conversation import Conversation, Utterance
from erc.data.corpora.corpus import AnomalyLog, Corpus, corpus_file, read_text, repair_cp1252
from erc.data.corpora.spec import CorpusLayout, CorpusSpec
from erc.emotions import load_emotion_set
from erc.errors import InputError

NAME = "meld"
COLUMNS = (
    "Utterance",
    "Speaker",
    "Emotion",
    "Sentiment",
    "Dialogue_ID",
    "Utterance_ID",
    "Season",
    "Episode",
    "StartTime",
    "EndTime",
)
_JOINT = re.compile(r"\s+(?:and|&)\s+")
_TIME = re.compile(r"(\d{1,2}):(\d{2}):(\d{2})[,.](\d{1,3})")
_DYADIC_NOTE = "the dyadic variant of MELD: results are not comparable with those on the full corpus"

Row = tuple[int, dict[str, str]]


def read_meld(path: Path, split: str) -> Corpus:
    """Read the dialogues of one CSV file.

    Ids are `meld-<split>-<dialogue>` and `meld-<split>-<dialogue>-<utterance>` with the corpus's own numbers,
    which may have gaps. Times are seconds from the beginning of the episode. Season, episode and sentiment
    are in `meta`. Wrongly decoded typographic characters are repaired. Empty turns and gaps are kept and
    reported.

    Raises:
        InputError: for a missing column, an unknown label, or a time or number that cannot be read; names the
            line.
    """
    log = AnomalyLog()
    reader = csv.DictReader(io.StringIO(read_text(path, log), newline=""))
    missing = [column for column in COLUMNS if column not in (reader.fieldnames or ())]
    if missing:
        raise InputError(f"columns missing from MELD's layout: {', '.join(missing)}", path=path, line=1)
    dyadic = "Old_Dialogue_ID" in (reader.fieldnames or ())
    dialogues: dict[int, list[Row]] = {}
    for row in reader:
        if any(row[column] is None for column in COLUMNS):
            raise InputError(
                f"fewer fields than the {len(reader.fieldnames or ())} columns",
                path=path,
                line=reader.line_num,
            )
        dialogues.setdefault(_number(row, "Dialogue_ID", path, reader.line_num), []).append(
            (reader.line_num, row)
        )
    for absent in sorted(set(range(max(dialogues, default=-1) + 1)) - set(dialogues)):
        log.add("missing_dialogue", "kept", f"Dialogue_ID {absent} is absent")
    conversations = tuple(_dialogue(number, rows, split, path, log) for number, rows in dialogues.items())
    note = _DYADIC_NOTE if dyadic else None
    return Corpus(
        NAME,
        split,
        conversations,
        NAME,
        "dyadic" if dyadic else "full",
        log.report(),
        (corpus_file(path),),
        note,
    )


def _dialogue(number: int, rows: list[Row], split: str, path: Path, log: AnomalyLog) -> Conversation:
    identifier = f"{NAME}-{split}-{number:04d}"
    turns = tuple(_turn(index, line, row, identifier, path, log) for index, (line, row) in enumerate(rows))
    numbers = [_number(row, "Utterance_ID", path, line) for line, row in rows]
    if numbers != list(range(len(numbers))):
        log.add(
            "id_gap", "kept", "dialogues whose Utterance_ID does not count 0, 1, 2, ...", where=identifier
        )
    starts = [turn.start or 0.0 for turn in turns]
    if starts != sorted(starts):
        log.add(
            "time_order",
            "kept",
            "dialogues whose start times fall; the order of the ids is kept",
            where=identifier,
        )
    line, first = rows[0]
    meta = {"season": _number(first, "Season", path, line), "episode": _number(first, "Episode", path, line)}
    if any((row["Season"], row["Episode"]) != (first["Season"], first["Episode"]) for _, row in rows):
        log.add(
            "mixed_episodes",
            "kept",
            "dialogues that span episodes; the first turn's counts",
            where=identifier,
        )
    return Conversation(conversation_id=identifier, utterances=turns, corpus=NAME, meta=meta)


def _turn(
    index: int, line: int, row: dict[str, str], dialogue: str, path: Path, log: AnomalyLog
) -> Utterance:
    where = f"line {line}"
    text = repair_cp1252(row["Utterance"], log, where=where).strip()
    written = repair_cp1252(row["Speaker"], log, where=where).strip()
    if not text:
        log.add("empty_utterance", "kept", "turns without text", where=where)
    speakers = tuple(_JOINT.split(written))
    meta: dict[str, Any] = {"sentiment": row["Sentiment"].strip().casefold()}
    if len(speakers) > 1:
        log.add(
            "joint_speakers", "kept", "turns of several speakers; the first one named owns them", where=where
        )
        meta["speaker_as_written"] = written
    return Utterance(
        utterance_id=f"{dialogue}-{_number(row, 'Utterance_ID', path, line):03d}",
        index=index,
        speaker=speakers[0],
        speakers=speakers,
        text=text,
        start=_seconds(row["StartTime"], path, line),
        end=_seconds(row["EndTime"], path, line),
        emotions=(_label(row["Emotion"], path, line),),
        meta=meta,
    )


def _label(written: str, path: Path, line: int) -> str:
    try:
        return load_emotion_set(NAME).canonical(written)
    except InputError as error:
        raise InputError(str(error), path=path, line=line) from None


def _number(row: dict[str, str], column: str, path: Path, line: int) -> int:
    try:
        return int(row[column])
    except ValueError:
        raise InputError(
            f"{column} must be a whole number, got {row[column]!r}", path=path, line=line
        ) from None


def _seconds(written: str, path: Path, line: int) -> float:
    match = _TIME.fullmatch(written.strip())
    if match is None:
        raise InputError(f"a time must read hh:mm:ss,mmm, got {written!r}", path=path, line=line)
    hours, minutes, seconds, fraction = match.groups()
    return int(hours) * 3600 + int(minutes) * 60 + int(seconds) + int(fraction.ljust(3, "0")) / 1000


MELD = CorpusSpec(
    name=NAME,
    emotion_set=NAME,
    licence="MELD: GPL-3.0",
    layouts=(
        CorpusLayout(
            suffix=".csv",
            recognises=lambda _, head: "Dialogue_ID" in head.split("\n", 1)[0],
            read=read_meld,
        ),
    ),
    home="github.com/declare-lab/MELD (data/MELD)",
    series="Friends",  # the splits share episodes, so whole episodes are not held out
)
