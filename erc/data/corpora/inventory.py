"""Lists the corpora of the data folder, and checks given files."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from erc.data.corpora.corpus import SPLITS
from erc.data.corpora.registry import CORPORA, corpora, find_sources
from erc.data.corpora.spec import CorpusSpec
from erc.data.corpora.summary import CorpusSummary, summarise
from erc.data.root import search_roots
from erc.errors import InputError


@dataclass(frozen=True, slots=True)
class CorpusEntry:
    """One corpus: its emotion set, and its folder and splits if it was imported."""

    corpus: str
    emotion_set: str
    folder: Path | None
    splits: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        """Plain values, ready for JSON."""
        return asdict(self) | {"folder": None if self.folder is None else str(self.folder)}


@dataclass(frozen=True, slots=True)
class Checked:
    """The figures of every corpus file found, and the other files."""

    summaries: tuple[CorpusSummary, ...]
    ignored: tuple[Path, ...]


def list_corpora(*, root: Path | None = None) -> tuple[CorpusEntry, ...]:
    """Every corpus of the table, with the splits that `load_corpus` would find."""
    return tuple(_entry(spec, root) for spec in CORPORA.values())


def check_path(path: Path) -> Checked:
    """Read every corpus file at `path`, a file or a folder.

    Raises:
        InputError: when no file is recognised, or as the reader.
    """
    sources, ignored = find_sources(path)
    if not sources:
        raise InputError(f"no file of a known corpus ({', '.join(corpora())}) is there", path=path)
    return Checked(tuple(summarise(source.read()) for source in sources), ignored)


def _entry(spec: CorpusSpec, root: Path | None) -> CorpusEntry:
    name = spec.name
    for place in search_roots(root):
        folder = place / name
        if folder.is_dir():
            found = {source.split for source in find_sources(folder)[0] if source.corpus == name}
            return CorpusEntry(
                name, spec.emotion_set, folder, tuple(split for split in (*SPLITS, "all") if split in found)
            )
    return CorpusEntry(name, spec.emotion_set, None, ())
