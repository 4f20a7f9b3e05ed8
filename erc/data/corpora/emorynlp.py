"""EmoryNLP emotion detection: the official JSON, and the smaller CSV copy in circulation.

A scene is a conversation with its own id (`s01_e15_c01`). Scenes keep the order of the file, which is the
order of broadcast. A turn of several speakers belongs to the first one named and keeps the list.
"""

from __future__ import annotations

import ast
import csv
import io
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from erc.data.conversation import Conversation, Utterance
from erc.data.corpora.corpus import AnomalyLog, Corpus, corpus_file, read_text, repair_cp1252
from erc.data.corpora.spec import CorpusLayout, CorpusSpec
from erc.emotions import load_emotion_set
from erc.errors import InputError

NAME = "emorynlp"
_REDUCED_NOTE = (
    "the reduced edition of EmoryNLP (a CSV copy with scenes and turns missing): results are not comparable "
    "with the full edition"
)
CSV_COLUMNS = ("Utterance", "Speaker", "Emotion", "Scene_ID", "Utterance_ID", "Season", "Episode")
_EPISODE = re.compile(r"s(\d+)_e(\d+)")
_TURN_NUMBER = re.compile(r"_u(\d+)$")
_NOBODY = "unknown"


def read_emorynlp(path: Path, split: str) -> Corpus:
    """Read the scenes of one official JSON file (`episodes` > `scenes` > `utterances`), without `tokens`.

    Raises:
        InputError: for a file that is not JSON, a missing key, a value of another type, or an unknown label;
            names the place by its id.
    """
    log = AnomalyLog()
    try:
        document = json.loads(read_text(path, log))
    except json.JSONDecodeError as error:
        raise InputError(f"not JSON: {error.msg}", path=path, line=error.lineno) from None
    conversations = tuple(_scene(episode, scene, path, log) for episode, scene in _scenes(document, path))
    places = [(conversation.meta["season"], conversation.meta["episode"]) for conversation in conversations]
    if places != sorted(places):
        log.add("episode_order", "kept", "episodes are not in order of broadcast; `chronological` sorts them")
    return Corpus(NAME, split, conversations, NAME, "full", log.report(), (corpus_file(path),))


def read_emorynlp_reduced(path: Path, split: str) -> Corpus:
    """Read the scenes of the reduced CSV edition. The corpus's `note` names the edition.

    `Speaker` is a list written as a Python literal. Scene numbers restart in each episode, so ids are built
    from season, episode and scene, in the official form.

    Raises:
        InputError: for a missing column, a number or a list of speakers that cannot be read, or an unknown
            label; names the line.
    """
    log = AnomalyLog()
    reader = csv.DictReader(io.StringIO(read_text(path, log), newline=""))
    missing = [column for column in CSV_COLUMNS if column not in (reader.fieldnames or ())]
    if missing:
        raise InputError(f"columns missing from the CSV layout: {', '.join(missing)}", path=path, line=1)
    scenes: dict[tuple[int, int, int], list[Utterance]] = {}
    for row in reader:
        line = reader.line_num
        try:
            season, episode, scene, number = (
                int(row[column]) for column in ("Season", "Episode", "Scene_ID", "Utterance_ID")
            )
        except (TypeError, ValueError):
            raise InputError(
                "Season, Episode, Scene_ID and Utterance_ID must be whole numbers", path=path, line=line
            ) from None
        turns = scenes.setdefault((season, episode, scene), [])
        record = {
            "speakers": _literal_names(row["Speaker"], path, line),
            "transcript": row["Utterance"],
            "emotion": row["Emotion"],
        }
        turns.append(
            _turn(
                f"{scene_id(season, episode, scene)}_u{number:03d}", len(turns), record, f"{path}:{line}", log
            )
        )
    conversations = tuple(
        Conversation(scene_id(*key), tuple(turns), corpus=NAME, meta={"season": key[0], "episode": key[1]})
        for key, turns in scenes.items()
    )
    for conversation in conversations:
        _check_numbers(conversation, log)
    return Corpus(
        NAME, split, conversations, NAME, "reduced", log.report(), (corpus_file(path),), _REDUCED_NOTE
    )


def scene_id(season: int, episode: int, scene: int) -> str:
    """The official id of a scene, such as `s01_e15_c01`."""
    return f"s{season:02d}_e{episode:02d}_c{scene:02d}"


def _scenes(document: Any, path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    for episode in _entries(document, "episodes", str(path)):
        name = _text(episode, "episode_id", f"{path}: an episode")
        for scene in _entries(episode, "scenes", f"{path}: {name}"):
            yield name, scene


def _scene(episode: str, scene: dict[str, Any], path: Path, log: AnomalyLog) -> Conversation:
    identifier = _text(scene, "scene_id", f"{path}: a scene of {episode}")
    match = _EPISODE.match(episode)
    if match is None:
        raise InputError(f"episode_id {episode!r} must read like s01_e15", path=path)
    turns: list[Utterance] = []
    for record in _entries(scene, "utterances", f"{path}: {identifier}"):
        turns.append(
            _turn(_text(record, "utterance_id", f"{path}: {identifier}"), len(turns), record, str(path), log)
        )
        if "tokens" not in record:
            log.add("no_tokens", "kept", "turns without the optional tokens", where=turns[-1].utterance_id)
    meta = {"season": int(match[1]), "episode": int(match[2])}
    conversation = Conversation(identifier, tuple(turns), corpus=NAME, meta=meta)
    _check_numbers(conversation, log)
    return conversation


def _turn(identifier: str, index: int, record: dict[str, Any], where: str, log: AnomalyLog) -> Utterance:
    place = f"{where}: {identifier}"
    text = repair_cp1252(_text(record, "transcript", place), log, where=identifier).strip()
    names = record.get("speakers")
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise InputError(f"{place}: 'speakers' must be a list of names, got {names!r}")
    speakers = tuple(dict.fromkeys(name.strip() for name in names if name.strip()))
    if not speakers:
        log.add("no_speaker", "kept", f"turns without a speaker; named '{_NOBODY}'", where=identifier)
        speakers = (_NOBODY,)
    if len(speakers) > 1:
        log.add(
            "joint_speakers",
            "kept",
            "turns of several speakers; the first one named owns them",
            where=identifier,
        )
    if not text:
        log.add("empty_utterance", "kept", "turns without text", where=identifier)
    try:
        label = load_emotion_set(NAME).canonical(_text(record, "emotion", place))
    except InputError as error:
        raise InputError(f"{place}: {error}") from None
    return Utterance(
        utterance_id=identifier,
        index=index,
        speaker=speakers[0],
        speakers=speakers,
        text=text,
        emotions=(label,),
    )


def _check_numbers(conversation: Conversation, log: AnomalyLog) -> None:
    numbers = [int(match[1]) for turn in conversation if (match := _TURN_NUMBER.search(turn.utterance_id))]
    if numbers != list(range(1, len(numbers) + 1)):
        log.add(
            "id_gap",
            "kept",
            "scenes whose utterance numbers do not count 1, 2, 3, ...",
            where=conversation.conversation_id,
        )


def _literal_names(written: str, path: Path, line: int) -> Any:
    try:
        return ast.literal_eval(written)
    except (ValueError, SyntaxError):
        raise InputError(
            f"Speaker must be a list such as ['Rachel Green'], got {written!r}", path=path, line=line
        ) from None


def _entries(record: Any, key: str, where: str) -> list[dict[str, Any]]:
    entries = record.get(key) if isinstance(record, dict) else None
    if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
        raise InputError(f"{where}: '{key}' must be a list of objects")
    return entries


def _text(record: dict[str, Any], key: str, where: str) -> str:
    value = record.get(key)
    if not isinstance(value, str):
        raise InputError(f"{where}: '{key}' must be a text, got {value!r}")
    return value


EMORYNLP = CorpusSpec(
    name=NAME,
    emotion_set=NAME,
    licence="EmoryNLP emotion detection: Apache-2.0",
    layouts=(  # if both editions are present, the full one is read
        CorpusLayout(
            suffix=".json",
            recognises=lambda _, head: '"episodes"' in head and '"scenes"' in head,
            read=read_emorynlp,
        ),
        CorpusLayout(
            suffix=".csv",
            recognises=lambda _, head: "Scene_ID" in head.split("\n", 1)[0],
            read=read_emorynlp_reduced,
        ),
    ),
    home="github.com/emorynlp/emotion-detection",
    series="Friends",
    split_by_episode=True,
)
