"""Figures of a split, for `erc data check` and for result files."""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict, dataclass
from typing import Any

from erc.data.corpora.corpus import Anomaly, Corpus, CorpusFile
from erc.emotions import load_emotion_set


@dataclass(frozen=True, slots=True)
class CorpusSummary:
    """The figures of one split.

    Attributes:
        corpus: The corpus.
        split: The split.
        edition: The version of the corpus.
        note: A warning about the edition.
        emotion_set: The set of its labels.
        episodes: Number of distinct (season, episode) pairs; None for a corpus without episodes.
        conversations: Number of conversations.
        utterances: Number of utterances.
        speakers: Number of distinct owners of turns.
        labels: Count of every label of the emotion set. A multi-label turn counts once for each label.
        files: The files it was read from.
        anomalies: Irregularities in the files.
    """

    corpus: str
    split: str
    edition: str
    note: str | None
    emotion_set: str
    episodes: int | None
    conversations: int
    utterances: int
    speakers: int
    labels: dict[str, int]
    files: tuple[CorpusFile, ...]
    anomalies: tuple[Anomaly, ...]

    def to_dict(self) -> dict[str, Any]:
        """Plain values, ready for JSON."""
        return asdict(self)


def summarise(corpus: Corpus) -> CorpusSummary:
    """The figures of `corpus`."""
    turns = [turn for conversation in corpus.conversations for turn in conversation]
    episodes = {(c.meta["season"], c.meta["episode"]) for c in corpus.conversations if "season" in c.meta}
    counts = Counter(label for turn in turns for label in turn.emotions)
    return CorpusSummary(
        corpus=corpus.name,
        split=corpus.split,
        edition=corpus.edition,
        note=corpus.note,
        emotion_set=corpus.emotion_set,
        episodes=len(episodes) or None,
        conversations=len(corpus),
        utterances=len(turns),
        speakers=len({turn.speaker for turn in turns}),
        labels={label: counts[label] for label in load_emotion_set(corpus.emotion_set).labels},
        files=corpus.files,
        anomalies=corpus.anomalies,
    )
