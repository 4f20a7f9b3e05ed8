"""Which corpora lie in the data folder, and what given files hold."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from erc.data.corpora.corpus import SPLITS
from erc.data.corpora.registry import corpora, find_sources
from erc.data.corpora.summary import CorpusSummary, summarise
from erc.data.root import search_roots
from erc.errors import InputError


@dataclass(frozen=True, slots=True)
class CorpusEntry:
    """One corpus: its emotion set, and the folder and splits where it is there."""

    corpus: str
    emotion_set: str
    folder: Path | None
    splits: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        """Plain values, ready for JSON."""
        return asdict(self) | {"folder": None if self.folder is None else str(self.folder)}


@dataclass(frozen=True, slots=True)
class Checked:
    """The figures of every corpus file found, and the files that are none."""

    summaries: tuple[CorpusSummary, ...]
    ignored: tuple[Path, ...]


def list_corpora(*, root: Path | None = None) -> tuple[CorpusEntry, ...]:
    """Every corpus there is a reader for, with the splits that `load_corpus` would find."""
    return tuple(_entry(name, root) for name in corpora())


def check_path(path: Path) -> Checked:
    """Reads every corpus file at `path` (a file or a folder).

    Raises InputError when none is recognised, or as the reader does for a file that cannot be read.
    """
    sources, ignored = find_sources(path)
    if not sources:
        raise InputError(f"no file of a known corpus ({', '.join(corpora())}) is there", path=path)
    return Checked(tuple(summarise(source.read()) for source in sources), ignored)


def _entry(name: str, root: Path | None) -> CorpusEntry:
    for place in search_roots(root):
        folder = place / name
        if folder.is_dir():
            found = {source.split for source in find_sources(folder)[0] if source.layout.corpus == name}
            return CorpusEntry(
                name, name, folder, tuple(split for split in (*SPLITS, "all") if split in found)
            )
    return CorpusEntry(name, name, None, ())
