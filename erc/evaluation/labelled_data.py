"""Labelled data to evaluate on: a corpus, a corpus file, or a user's labelled transcript.

Shapes: U turns in reading order, C labels.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from erc.data import Conversation, Utterance
from erc.data.corpora import Corpus, corpora, find_sources, load_corpus, sniff
from erc.data.corpora.corpus import corpus_file
from erc.emotions import EmotionSet, emotion_sets, load_emotion_map, load_emotion_set
from erc.errors import ConfigError, InputError
from erc.transcripts import read_transcript


@dataclass(frozen=True, slots=True)
class GoldData:
    """Conversations with gold labels of the set `emotions`.

    Attributes:
        name: Name of the corpus or file.
        split: Split of a corpus.
        emotions: Emotion set of the labels.
        conversations: The conversations.
        files: SHA-256 of the files read, by name.
        source: Path or name for messages.
        edition: Edition of a corpus.
        notes: Notes for the report.
    """

    name: str
    split: str | None
    emotions: EmotionSet
    conversations: tuple[Conversation, ...]
    files: dict[str, str]
    source: str
    edition: str | None = None
    notes: tuple[str, ...] = ()

    def turns(self) -> list[Utterance]:
        """Every turn in reading order."""
        return [utterance for conversation in self.conversations for utterance in conversation]

    def targets(self) -> tuple[np.ndarray, np.ndarray]:
        """Multi-hot labels (U, C) bool, and which turns are labelled (U,) bool.

        In a corpus without a neutral label, a turn without labels means "no emotion" and counts as labelled.

        Raises:
            InputError: The set lacks a label, or an exclusive set has two on one turn; with file and line.
        """
        turns = self.turns()
        matrix = np.zeros((len(turns), len(self.emotions)), dtype=bool)
        for row, utterance in enumerate(turns):
            matrix[row, [self._index(label, utterance) for label in utterance.emotions]] = True
            if not self.emotions.multi_label and matrix[row].sum() > 1:
                both = " and ".join(utterance.emotions)
                raise self._error(
                    f"{both} are on one turn, but '{self.emotions.name}' allows one emotion per turn",
                    utterance,
                )
        empty_is_gold = self.emotions.neutral is None and self.edition is not None
        labelled: np.ndarray = np.ones(len(turns), dtype=bool) if empty_is_gold else np.any(matrix, axis=1)
        if not labelled.any():
            raise InputError(
                "no turn has a gold label: a transcript needs a column named emotion (or label)",
                path=self.source,
            )
        return matrix, labelled

    def limited(self, turns: int | None) -> GoldData:
        """The first whole conversations with at least `turns` turns in all; None keeps all."""
        if turns is None:
            return self
        if turns < 1:
            raise ConfigError(f"limit={turns}: at least one turn is needed")
        kept: list[Conversation] = []
        count = 0
        for conversation in self.conversations:
            if count >= turns:
                break
            kept.append(conversation)
            count += len(conversation)
        if len(kept) == len(self.conversations):
            return self
        return replace(
            self,
            conversations=tuple(kept),
            notes=(*self.notes, f"only the first {count} turns were evaluated"),
        )

    def _index(self, label: str, utterance: Utterance) -> int:
        try:
            return self.emotions.index(label)
        except InputError as error:
            raise self._error(str(error), utterance) from None

    def _error(self, message: str, utterance: Utterance) -> InputError:
        line = utterance.meta.get("line")
        return InputError(
            f"{message} (turn {utterance.utterance_id})",
            path=self.source,
            line=line if isinstance(line, int) else None,
        )


def load_gold(
    data: str,
    *,
    model_set: str,
    split: str = "dev",
    root: Path | None = None,
    emotions: str | None = None,
    limit: int | None = None,
    format: str | None = None,
    mapping: Mapping[str, str] | None = None,
) -> GoldData:
    """The labelled data that `data` names: a corpus, a corpus file or folder, or a transcript.

    Args:
        data: Name or path.
        model_set: The model's emotion set.
        split: Split of a corpus.
        root: Data root of corpora.
        emotions: Emotion set of a transcript's labels; None takes the smallest set that has them all and that
            the model can report in.
        limit: Number of turns to read.
        format: Format of a transcript; makes `data` a transcript.
        mapping: Fields to columns of a transcript; likewise.

    Raises:
        InputError: The data is missing or has unknown labels.
        ConfigError: An option does not fit the data.
    """
    path = Path(data).expanduser()
    as_transcript = format is not None or bool(mapping)
    if as_transcript and (data in corpora() or path.is_dir()):
        raise ConfigError(f"{data} is a corpus: leave --format and --map away, they are for transcripts")
    if data in corpora():
        loaded = _of_corpus(load_corpus(data, split, root=root), source=data)
    elif path.is_dir():
        loaded = _of_folder(path, split)
    elif path.is_file():
        source = None if as_transcript else sniff(path)
        if source is None:
            loaded = _of_transcript(path, model_set, emotions, format=format, mapping=mapping)
        else:
            loaded = _of_corpus(source.read(), source=str(path))
    else:
        raise InputError(
            f"there is no such file, and no corpus of that name (corpora: {', '.join(corpora())})", path=data
        )
    if emotions is not None and loaded.emotions.name != emotions:
        raise ConfigError(
            f"the labels of {data} are those of '{loaded.emotions.name}': leave --emotions away, it is for "
            "transcripts"
        )
    return loaded.limited(limit)


def _of_corpus(corpus: Corpus, *, source: str) -> GoldData:
    return GoldData(
        name=corpus.name,
        split=corpus.split,
        emotions=load_emotion_set(corpus.emotion_set),
        conversations=corpus.conversations,
        files={file.name: file.sha256 for file in corpus.files},
        source=source,
        edition=corpus.edition,
        notes=() if corpus.note is None else (corpus.note,),
    )


def _of_folder(path: Path, split: str) -> GoldData:
    sources = [source for source in find_sources(path)[0] if source.split in (split, "all")]
    if len(sources) != 1:
        found = ", ".join(source.path.name for source in sources) or "none"
        raise InputError(
            f"one corpus file of the '{split}' split is expected in this folder, found {found}: name the "
            "file",
            path=path,
        )
    return _of_corpus(sources[0].read(), source=str(sources[0].path))


def _of_transcript(
    path: Path, model_set: str, emotions: str | None, *, format: str | None, mapping: Mapping[str, str] | None
) -> GoldData:
    transcript = read_transcript(path, format=format, mapping=mapping)
    labels = {
        label for conversation in transcript.conversations for turn in conversation for label in turn.emotions
    }
    several = any(
        len(turn.emotions) > 1 for conversation in transcript.conversations for turn in conversation
    )
    notes = (*transcript.notes, *(f"skipped: {problem}" for problem in transcript.problems))
    if emotions is None:
        chosen = _smallest_set(labels, several=several, model_set=model_set)
        notes = (*notes, f"the labels are read as '{chosen.name}'; name another set with --emotions")
    else:
        chosen = load_emotion_set(emotions)
    files = {path.name: corpus_file(path).sha256}
    return GoldData(
        name=path.stem,
        split=None,
        emotions=chosen,
        conversations=transcript.conversations,
        files=files,
        source=str(path),
        notes=notes,
    )


def _smallest_set(labels: Iterable[str], *, several: bool, model_set: str) -> EmotionSet:
    """The smallest set with all labels; the model's own if none has them, for its error message."""
    wanted = tuple(labels)
    sets = [
        candidate
        for candidate in map(load_emotion_set, emotion_sets())
        if _reachable(model_set, candidate.name)
    ]
    fitting = [
        candidate
        for candidate in sets
        if _spells(candidate, wanted) and (candidate.multi_label or not several)
    ]
    return min(
        fitting, key=lambda candidate: (len(candidate), candidate.name), default=load_emotion_set(model_set)
    )


def _reachable(source: str, target: str) -> bool:
    try:
        load_emotion_map(source, target)
    except ConfigError:
        return False
    return True


def _spells(candidate: EmotionSet, labels: tuple[str, ...]) -> bool:
    try:
        return all(candidate.index(label) >= 0 for label in labels)
    except InputError:
        return False
