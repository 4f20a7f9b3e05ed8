"""The entry of one corpus in the table of corpora. Each corpus's module creates its `CorpusSpec`."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from erc.data.corpora.corpus import Corpus


def no_companions(path: Path) -> tuple[Path, ...]:
    """For layouts whose files have no companions."""
    return ()


@dataclass(frozen=True, slots=True, kw_only=True)
class CorpusLayout:
    """One file layout of a corpus.

    Attributes:
        suffix: The suffix of its files, in lower case with the dot.
        recognises: Whether a file with this suffix has the layout, by its path and its first 64 KiB as text.
        read: Reads one split from a path. Raises InputError for a file that it cannot read.
        companions: Files that must stay beside a file of the layout, such as a file of labels.
    """

    suffix: str
    recognises: Callable[[Path, str], bool]
    read: Callable[[Path, str], Corpus]
    companions: Callable[[Path], tuple[Path, ...]] = no_companions


@dataclass(frozen=True, slots=True, kw_only=True)
class HubCopy:
    """A copy of a corpus in Parquet on the Hugging Face hub.

    Attributes:
        repository: The data set's id on the hub.
        write: Writes the rows of a split into a folder, in a layout that the corpus's readers know.
        configuration: The configuration of the data set, if it has several.
        revision: The revision with Parquet files, if it is not the main one.
    """

    repository: str
    write: Callable[[Iterable[Mapping[str, Any]], Path, str], Path]
    configuration: str | None = None
    revision: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class CorpusSpec:
    """One corpus.

    Attributes:
        name: The name that commands and configurations use; also the name of its folder.
        emotion_set: The set its labels come from, a file of `erc/ontology/sets`.
        licence: Title and licence, as cards of models trained on the corpus show them.
        layouts: Its file layouts. If several files hold a split, the earlier layout is read.
        hub: Where to download the corpus; None if the hub has no copy in Parquet.
        home: Where to get a corpus that is not on the hub.
        names_speakers: Whether a speaker's name means one person in all conversations of the corpus.
        series: The television series of the dialogues. Corpora of one series may share episodes.
        split_by_episode: Whether the splits consist of whole episodes, so that the leak filter also drops
            conversations from held-out episodes.
    """

    name: str
    emotion_set: str
    licence: str
    layouts: tuple[CorpusLayout, ...]
    hub: HubCopy | None = None
    home: str = ""
    names_speakers: bool = True
    series: str | None = None
    split_by_episode: bool = False
