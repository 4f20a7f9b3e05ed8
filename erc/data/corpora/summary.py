"""What a split holds, in figures: for people (`erc data check`) and for result files."""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict, dataclass
from typing import Any

from erc.data.corpora.corpus import Anomaly, Corpus, CorpusFile
from erc.emotions import load_emotion_set


@dataclass(frozen=True, slots=True)
class CorpusSummary:
    """The figures of one split.

    `speakers` counts distinct owners of turns, `episodes` distinct (season, episode) pairs, None for a corpus
    without. `labels` has every label of the emotion set in its order, those that never occur too; a
    multi-label turn counts once for each label.
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
