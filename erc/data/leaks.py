"""Keeps texts of an evaluated split out of training on another corpus.

EmoryNLP and MELD are cut from one series, so turns of one corpus's evaluation episodes stand in the other's
training split. A filter drops whole dialogues: a dialogue with one known turn gives its neighbours away too.
Held-out splits are known by hashes of normalised texts, so a filter can be shipped and applied without them.
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
    """NFKC, lower case, plain apostrophes; runs of anything but a-z, 0-9 and apostrophes become one space."""
    return _OTHER.sub(" ", unicodedata.normalize("NFKC", text).lower().translate(_APOSTROPHES)).strip()


def text_hash(text: str) -> str | None:
    """The first 16 hex digits of the SHA-256 of the normalised text, None for a text under five words."""
    normalised = normalise(text)
    if len(normalised.split()) < MINIMUM_WORDS:
        return None
    return hashlib.sha256(normalised.encode()).hexdigest()[:16]


@dataclass(frozen=True, slots=True)
class HeldOut:
    """An evaluated split: its corpus and name, the hashes of its texts, and its episodes (`s01_e15`) where those are held out whole."""

    corpus: str
    split: str
    hashes: frozenset[str]
    episodes: frozenset[str] = frozenset()

    @classmethod
    def of(cls, corpus: Corpus) -> HeldOut:
        """The held-out record of a split at hand."""
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
    """What a filter did: `dropped` of `total` conversations, and how many each evaluated split ('meld/test') gave reason for."""

    total: int
    dropped: int
    dropped_utterances: int
    reasons: dict[str, int]

    def __str__(self) -> str:
        why = (
            ", ".join(f"{count} for {name}" for name, count in self.reasons.items() if count)
            or "no text is shared"
        )
        return f"dropped {self.dropped} of {self.total} conversations ({self.dropped_utterances} utterances): {why}"


@dataclass(frozen=True, slots=True)
class LeakFilter:
    """Drops every conversation that holds a text, or comes from a held-out episode, of the evaluated splits.

    A corpus's own evaluated splits are not applied to it: official splits are kept as published, so that
    results stay comparable.
    """

    held_out: tuple[HeldOut, ...]

    @classmethod
    def of(cls, evaluated: Iterable[Corpus | HeldOut]) -> LeakFilter:
        """A filter for splits at hand, splits known by hashes, or both."""
        return cls(tuple(split if isinstance(split, HeldOut) else HeldOut.of(split) for split in evaluated))

    def apply(self, conversations: Sequence[Conversation]) -> tuple[tuple[Conversation, ...], LeakReport]:
        """The conversations that may be trained on, in their order, and the report.

        Raises InputError for a conversation without a corpus name: whose splits to spare would be a guess.
        """
        kept: list[Conversation] = []
        reasons = {f"{split.corpus}/{split.split}": 0 for split in self.held_out}
        lost = 0
        for conversation in conversations:
            if conversation.corpus is None:
                raise InputError(
                    f"conversation {conversation.conversation_id} has no corpus name: the leak filter cannot tell whose splits to spare"
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
    """The test splits known by the hash file beside the corpora; none where there is no such file."""
    paths = (place / HASH_FILE for place in search_roots(root))
    return next((load_held_out(path) for path in paths if path.is_file()), ())


def load_held_out(path: Path) -> tuple[HeldOut, ...]:
    """The held-out splits of a hash file: lists under `<corpus>_<split>`, episodes under `<corpus>_<split>_episodes`.

    Raises InputError when the file is no such record.
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
