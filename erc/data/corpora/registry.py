"""The table of corpora, the detection of corpus files by content, and reading a split by name."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from erc.data.corpora.corpus import Corpus, split_of
from erc.data.corpora.dailydialog import DAILYDIALOG
from erc.data.corpora.emorynlp import EMORYNLP
from erc.data.corpora.goemotions import GOEMOTIONS
from erc.data.corpora.meld import MELD
from erc.data.corpora.semeval2018 import SEMEVAL2018
from erc.data.corpora.spec import CorpusLayout, CorpusSpec
from erc.data.root import corpus_dir
from erc.errors import InputError

CHECKSUMS = "SHA256SUMS"
_HEAD_BYTES = 1 << 16


CORPORA: dict[str, CorpusSpec] = {
    spec.name: spec for spec in (EMORYNLP, MELD, GOEMOTIONS, SEMEVAL2018, DAILYDIALOG)
}
"""The table of corpora by name. To add one, write a module with its `CorpusSpec`, and name it here."""


@dataclass(frozen=True, slots=True)
class Source:
    """A recognised file. `split` is `all` if neither the file's nor the folder's name contains a split."""

    path: Path
    corpus: str
    layout: CorpusLayout
    split: str

    def read(self) -> Corpus:
        """Read the split.

        Raises:
            InputError: as the reader of the layout.
        """
        return self.layout.read(self.path, self.split)


def corpora() -> tuple[str, ...]:
    """Names of the corpora that can be read."""
    return tuple(CORPORA)


def corpus_spec(name: str) -> CorpusSpec:
    """The entry of corpus `name`.

    Raises:
        InputError: for an unknown name.
    """
    if name not in CORPORA:
        raise InputError(f"no corpus '{name}'; the corpora are {', '.join(CORPORA)}")
    return CORPORA[name]


def sniff(path: Path) -> Source | None:
    """The corpus and split of a file, by its first bytes; None for other files."""
    with path.open("rb") as stream:
        head = stream.read(_HEAD_BYTES).decode("utf-8-sig", errors="replace")
    for spec in CORPORA.values():
        for layout in spec.layouts:
            if path.suffix.casefold() == layout.suffix and layout.recognises(path, head):
                return Source(path, spec.name, layout, guess_split(path))
    return None


def guess_split(path: Path) -> str:
    """The split in the file's name, else in its folder's; `all` if there is none."""
    for name in (path.stem, path.parent.name):
        for word in re.split(r"[^a-z]+", name.casefold()):
            try:
                return split_of(word)
            except InputError:
                continue
    return "all"


def find_sources(path: Path) -> tuple[tuple[Source, ...], tuple[Path, ...]]:
    """The corpus files at `path`, and the other files. `path` is a file or a folder, searched recursively.

    Links are not followed.

    Raises:
        InputError: when `path` does not exist.
    """
    if path.is_file():
        files = [path]
    elif path.is_dir():
        files = sorted(file for file in path.rglob("*") if file.is_file() and not file.is_symlink())
    else:
        raise InputError("there is no such file or folder", path=path)
    sniffed = [(file, sniff(file)) for file in files]
    sources = tuple(source for _, source in sniffed if source is not None)
    companions = {beside for source in sources for beside in source.layout.companions(source.path)}
    return sources, tuple(file for file, source in sniffed if source is None and file not in companions)


def load_corpus(name: str, split: str, *, root: Path | None = None) -> Corpus:
    """Read a split (train, dev, test, or `all` for files of the whole corpus) of corpus `name`.

    Searches `root`, else the folders of `erc.data.root`.

    Raises:
        InputError: for an unknown name or split, a missing file, two files of the same split, a file that
            changed since its import, or as the reader.
    """
    spec = corpus_spec(name)
    wanted = split if split == "all" else split_of(split)
    folder = corpus_dir(name, root)
    sources = [source for source in find_sources(folder)[0] if source.corpus == name]
    matching = [source for source in sources if source.split == wanted]
    if not matching:
        there = ", ".join(sorted({source.split for source in sources})) or "none"
        raise InputError(f"no file of the '{wanted}' split of {name}; splits there: {there}", path=folder)
    best = min(spec.layouts.index(source.layout) for source in matching)
    chosen = [source for source in matching if spec.layouts.index(source.layout) == best]
    if len(chosen) > 1:
        names = ", ".join(source.path.name for source in chosen)
        raise InputError(f"{len(chosen)} files claim the '{wanted}' split: {names}; keep one", path=folder)
    corpus = chosen[0].read()
    _verify(corpus, chosen[0].path.parent)
    return corpus


def read_checksums(folder: Path) -> dict[str, str]:
    """File name to SHA-256, as recorded by the import; empty if nothing was recorded."""
    record = folder / CHECKSUMS
    if not record.is_file():
        return {}
    return {
        name: digest
        for digest, _, name in (
            line.partition("  ") for line in record.read_text(encoding="utf-8").splitlines()
        )
        if name
    }


def _verify(corpus: Corpus, folder: Path) -> None:
    recorded = read_checksums(folder)
    for file in corpus.files:
        if recorded.get(file.name, file.sha256) != file.sha256:
            raise InputError(
                f"SHA-256 is {file.sha256}, the import had {recorded[file.name]}: import the corpus again",
                path=folder / file.name,
            )
