"""Data that brings its own labels, to evaluate on: a corpus by name, a corpus file, or a user's labelled transcript.

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
    """Conversations whose turns hold gold labels spelled in `emotions`.

    `files` are the SHA-256 of the files read, by name; `source` is the place that messages name; `notes` are
    for the reader of the figures.
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
        """Multi-hot booleans (U, C) and which turns are labelled (U,), a turn without any label being left out of every figure.

        In a set without a neutral label a corpus says "no emotion" by no label, and its turns all count.
        Raises InputError, with file and line, for a label the set does not have and for two labels where the
        set allows one.
        """
        turns = self.turns()
        matrix = np.zeros((len(turns), len(self.emotions)), dtype=bool)
        for row, utterance in enumerate(turns):
            matrix[row, [self._index(label, utterance) for label in utterance.emotions]] = True
            if not self.emotions.multi_label and matrix[row].sum() > 1:
                both = " and ".join(utterance.emotions)
                raise self._error(
                    f"{both} stand together, but a turn has one emotion of '{self.emotions.name}'", utterance
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
        """Whole conversations from the beginning until there are at least `turns` turns; everything for None."""
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
    """The labelled data that `data` names: a corpus (its `split`, under `root`), a corpus file or folder, or a transcript.

    `emotions` names the set a transcript's labels are spelled in; None takes the smallest set that has them
    all among those a model of `model_set` can report in. `format` and `mapping` (field to column) say how a
    transcript is read; a file that either is given for is one. Raises InputError for data that are absent or
    hold unknown labels.
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
            f"the labels of {data} are those of '{loaded.emotions.name}': leave --emotions away, it is for transcripts"
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
            f"one corpus file of the '{split}' split is expected in this folder, found {found}: name the file",
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
    """The set with the fewest labels that spells all of `labels`; the model's own where none does, so that its error is the one told."""
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
