"""The result of a corpus reader, and helpers that readers share."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from erc.data.conversation import Conversation
from erc.errors import InputError

Action = Literal["repaired", "kept", "dropped"]
SPLITS = ("train", "dev", "test")

# Typographic characters of Windows-1252 that were decoded as Latin-1: the bytes 0x85 and 0x91 to 0x97.
_CP1252 = {code: bytes([code]).decode("cp1252") for code in (0x85, *range(0x91, 0x98))}


@dataclass(frozen=True, slots=True)
class Anomaly:
    """An irregularity in a corpus file.

    Attributes:
        kind: Its kind, as one word.
        action: What the reader did.
        count: How often it occurs.
        detail: A description.
        first: Where it first occurs.
    """

    kind: str
    action: Action
    count: int
    detail: str
    first: str = ""


@dataclass(frozen=True, slots=True)
class CorpusFile:
    """A file of a corpus, by its name in its folder, and the SHA-256 of its contents."""

    name: str
    sha256: str


@dataclass(frozen=True, slots=True)
class Corpus:
    """One split of a corpus.

    Attributes:
        name: The corpus.
        split: `train`, `dev`, `test` or `all`.
        conversations: In the order of the file; `chronological` sorts them by broadcast.
        emotion_set: The set of the gold labels in `Utterance.emotions`.
        edition: The version of the corpus. Results on different editions are not comparable.
        anomalies: Irregularities in the files.
        files: The files that were read.
        note: A warning about the edition.
    """

    name: str
    split: str
    conversations: tuple[Conversation, ...]
    emotion_set: str
    edition: str
    anomalies: tuple[Anomaly, ...]
    files: tuple[CorpusFile, ...]
    note: str | None = None

    def __len__(self) -> int:
        return len(self.conversations)

    @property
    def utterance_count(self) -> int:
        """Utterances over all conversations."""
        return sum(len(conversation) for conversation in self.conversations)


class AnomalyLog:
    """Counts irregularities by kind, action and detail."""

    def __init__(self) -> None:
        self._counts: Counter[tuple[str, Action, str]] = Counter()
        self._first: dict[tuple[str, Action, str], str] = {}

    def add(self, kind: str, action: Action, detail: str, *, where: str = "", count: int = 1) -> None:
        """Add `count` to this irregularity. The first `where` is kept."""
        if count < 1:
            return
        key = (kind, action, detail)
        self._counts[key] += count
        self._first.setdefault(key, where)

    def report(self) -> tuple[Anomaly, ...]:
        """All irregularities, sorted by kind and detail."""
        return tuple(
            Anomaly(
                kind=kind,
                action=action,
                count=self._counts[kind, action, detail],
                detail=detail,
                first=self._first[kind, action, detail],
            )
            for kind, action, detail in sorted(self._counts)
        )


def chronological(conversations: Iterable[Conversation]) -> tuple[Conversation, ...]:
    """Sort conversations by season, episode and start of the first turn.

    MELD's files are not in this order. Without start times (EmoryNLP) the given order is kept within an
    episode. Corpora without seasons are returned as given.

    Raises:
        InputError: when only some conversations have a season and an episode.
    """
    given = tuple(conversations)
    dated = [
        conversation
        for conversation in given
        if "season" in conversation.meta and "episode" in conversation.meta
    ]
    if not dated:
        return given
    if len(dated) < len(given):
        raise InputError(
            f"{len(given) - len(dated)} of {len(given)} conversations have no season and episode: "
            "sort each corpus alone"
        )
    return tuple(
        sorted(
            given,
            key=lambda conversation: (
                conversation.meta["season"],
                conversation.meta["episode"],
                _start(conversation),
            ),
        )
    )


def _start(conversation: Conversation) -> float:
    first = conversation.utterances[0].start if conversation.utterances else None
    return 0.0 if first is None else first


def split_of(name: str) -> str:
    """The split (train, dev or test) for a name such as `trn` or `validation`.

    Raises:
        InputError: for an unknown name.
    """
    known = {
        "train": "train",
        "trn": "train",
        "training": "train",
        "dev": "dev",
        "val": "dev",
        "valid": "dev",
        "validation": "dev",
    }
    known |= {"test": "test", "tst": "test"}
    try:
        return known[name.strip().casefold()]
    except KeyError:
        raise InputError(f"no split '{name}': there are {', '.join(SPLITS)}") from None


def corpus_file(path: Path) -> CorpusFile:
    """The name and checksum of `path`."""
    with path.open("rb") as stream:
        return CorpusFile(name=path.name, sha256=hashlib.file_digest(stream, "sha256").hexdigest())


def read_text(path: Path, log: AnomalyLog) -> str:
    """Read a file as UTF-8, with or without a byte-order mark, else as Windows-1252, which is logged.

    Raises:
        InputError: for a file in neither encoding.
    """
    raw = path.read_bytes()
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        log.add(
            "encoding",
            "repaired",
            "the file is not UTF-8 and was read as Windows-1252",
            where=f"byte {error.start}",
        )
    try:
        return raw.decode("cp1252")
    except UnicodeDecodeError as error:
        raise InputError(
            f"neither UTF-8 nor Windows-1252 (byte {error.start}): save the file as UTF-8", path=path
        ) from None


def repair_cp1252(text: str, log: AnomalyLog, *, where: str) -> str:
    """Repair typographic characters that were decoded as U+0085 and U+0091 to U+0097, and count them."""
    found = Counter(character for character in text if ord(character) in _CP1252)
    for character, count in found.items():
        detail = f"U+{ord(character):04X} stood for {_CP1252[ord(character)]}"
        log.add("mojibake", "repaired", detail, where=where, count=count)
    return text.translate(_CP1252) if found else text
