"""Removes texts of an evaluated split from the training data of another corpus.

EmoryNLP and MELD come from one series, so the training split of one contains turns of the other's evaluation
episodes. The filter drops whole dialogues, because the neighbours of a known turn are known too. It
identifies texts by hashes, so it can be distributed without the evaluated splits.
"""

from __future__ import annotations

import hashlib
import json
import re
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from erc.data.conversation import Conversation
from erc.data.corpora.corpus import Corpus
from erc.data.corpora.registry import CORPORA
from erc.data.root import search_roots
from erc.errors import InputError

HASH_FILE = "heldout_hashes.json"
MINIMUM_WORDS = 5  # shorter texts ("Oh my God!") recur by chance
_APOSTROPHES = str.maketrans(dict.fromkeys("\u2018\u2019\u201b\u02bc", "'"))
_OTHER = re.compile(r"[^a-z0-9']+")


def normalise(text: str) -> str:
    """`text` in NFKC and lower case; all but a-z, 0-9 and apostrophes becomes single spaces."""
    return _OTHER.sub(" ", unicodedata.normalize("NFKC", text).lower().translate(_APOSTROPHES)).strip()


def text_hash(text: str) -> str | None:
    """The first 16 hex digits of the SHA-256 of the normalised text; None for fewer than five words."""
    normalised = normalise(text)
    if len(normalised.split()) < MINIMUM_WORDS:
        return None
    return hashlib.sha256(normalised.encode()).hexdigest()[:16]


@dataclass(frozen=True, slots=True)
class HeldOut:
    """An evaluated split: its corpus, its name and the hashes of its texts.

    `episodes` (`s01_e15`) are those that are held out as a whole.
    """

    corpus: str
    split: str
    hashes: frozenset[str]
    episodes: frozenset[str] = frozenset()

    @classmethod
    def of(cls, corpus: Corpus) -> HeldOut:
        """The record of a split that was read."""
        hashes = (text_hash(turn.text) for conversation in corpus.conversations for turn in conversation)
        episodes: frozenset[str] = frozenset()
        spec = CORPORA.get(corpus.name)
        if spec is not None and spec.split_by_episode:
            episodes = frozenset(
                name for conversation in corpus.conversations if (name := _episode(conversation)) is not None
            )
        return cls(
            corpus.name, corpus.split, frozenset(value for value in hashes if value is not None), episodes
        )


@dataclass(frozen=True, slots=True)
class LeakReport:
    """The result of a filter.

    Attributes:
        total: Conversations before the filter.
        dropped: Conversations that were dropped.
        dropped_utterances: Utterances of the dropped conversations.
        reasons: For each evaluated split (`meld/test`), how many conversations were dropped because of it.
    """

    total: int
    dropped: int
    dropped_utterances: int
    reasons: dict[str, int]

    def __str__(self) -> str:
        why = (
            ", ".join(f"{count} for {name}" for name, count in self.reasons.items() if count)
            or "no text is shared"
        )
        counts = f"{self.dropped} of {self.total} conversations ({self.dropped_utterances} utterances)"
        return f"dropped {counts}: {why}"


@dataclass(frozen=True, slots=True)
class LeakFilter:
    """Drops every conversation with a text, or from a held-out episode, of the evaluated splits.

    A corpus is not filtered by its own splits: official splits are used as published, so results are
        comparable. Episodes are compared only between corpora of the same series.
    """

    held_out: tuple[HeldOut, ...]

    @classmethod
    def of(cls, evaluated: Iterable[Corpus | HeldOut]) -> LeakFilter:
        """A filter for splits that were read, for records of splits, or both."""
        return cls(tuple(split if isinstance(split, HeldOut) else HeldOut.of(split) for split in evaluated))

    def apply(self, conversations: Sequence[Conversation]) -> tuple[tuple[Conversation, ...], LeakReport]:
        """The conversations that may be trained on, in their order, and the report.

        Raises:
            InputError: for a conversation without a corpus name.
        """
        kept: list[Conversation] = []
        reasons = {f"{split.corpus}/{split.split}": 0 for split in self.held_out}
        lost = 0
        for conversation in conversations:
            if conversation.corpus is None:
                raise InputError(
                    f"conversation {conversation.conversation_id} has no corpus name: the filter needs it"
                )
            hits = self._hits(conversation)
            for split in hits:
                reasons[f"{split.corpus}/{split.split}"] += 1
            if hits:
                lost += len(conversation)
            else:
                kept.append(conversation)
        return tuple(kept), LeakReport(len(conversations), len(conversations) - len(kept), lost, reasons)

    def _hits(self, conversation: Conversation) -> list[HeldOut]:
        others = [split for split in self.held_out if split.corpus != conversation.corpus]
        if not others:
            return []
        hashes = {text_hash(turn.text) for turn in conversation}
        episode = _episode(conversation)
        series = _series(conversation.corpus)
        return [
            split
            for split in others
            if not hashes.isdisjoint(split.hashes)
            or (series is not None and series == _series(split.corpus) and episode in split.episodes)
        ]


def known_held_out(root: Path | None = None) -> tuple[HeldOut, ...]:
    """The test splits of the hash file beside the corpora; empty if there is no such file.

    Raises:
        InputError: when the file is not a hash file.
    """
    paths = (place / HASH_FILE for place in search_roots(root))
    return next((load_held_out(path) for path in paths if path.is_file()), ())


def load_held_out(path: Path) -> tuple[HeldOut, ...]:
    """Read the held-out splits of a hash file.

    It is a JSON object of lists: hashes as `<corpus>_<split>`, episodes as `<corpus>_<split>_episodes`.

    Raises:
        InputError: when the file cannot be read or has another form.
    """
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise InputError(f"cannot be read as a hash file: {error}", path=path) from None
    lists = (
        {key: value for key, value in record.items() if isinstance(value, list)}
        if isinstance(record, dict)
        else {}
    )
    names = [key for key in lists if not key.endswith("_episodes")]
    if not names or not all(
        "_" in name and all(isinstance(value, str) for value in lists[name]) for name in names
    ):
        raise InputError("a hash file is an object of lists such as 'meld_test'", path=path)
    splits = []
    for name in names:
        corpus, _, split = name.rpartition("_")
        splits.append(
            HeldOut(corpus, split, frozenset(lists[name]), frozenset(lists.get(f"{name}_episodes", ())))
        )
    return tuple(splits)


def _series(corpus: str | None) -> str | None:
    spec = CORPORA.get(corpus or "")
    return None if spec is None else spec.series


def _episode(conversation: Conversation) -> str | None:
    if "season" not in conversation.meta or "episode" not in conversation.meta:
        return None
    return f"s{conversation.meta['season']:02d}_e{conversation.meta['episode']:02d}"
