"""Finding corpus files by what is in them, and reading a split by the corpus's name."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from erc.data.corpora import dailydialog, emorynlp, goemotions, meld, semeval2018
from erc.data.corpora.corpus import Corpus, split_of
from erc.data.root import corpus_dir
from erc.errors import InputError

CHECKSUMS = "SHA256SUMS"
_HEAD_BYTES = 1 << 16
_LABEL_IDS = re.compile(r"\d+(,\d+)*")


@dataclass(frozen=True, slots=True)
class CorpusLayout:
    """One file layout of a corpus: how it is recognised, how it is read, and which files must stay beside it."""

    corpus: str
    title: str
    suffix: str
    recognises: Callable[[Path, str], bool]
    read: Callable[[Path, str], Corpus]
    companions: Callable[[Path], tuple[Path, ...]] = lambda path: ()


@dataclass(frozen=True, slots=True)
class Source:
    """A recognised file and the split it holds (`all` when neither its name nor its folder's says which)."""

    path: Path
    layout: CorpusLayout
    split: str

    def read(self) -> Corpus:
        """Reads the split. Raises InputError as the reader does."""
        return self.layout.read(self.path, self.split)


def _is_goemotions(path: Path, head: str) -> bool:
    fields = head.split("\n", 1)[0].rstrip("\r").split("\t")
    return len(fields) == 3 and _LABEL_IDS.fullmatch(fields[1]) is not None


def _is_semeval(path: Path, head: str) -> bool:
    header, _, rows = head.partition("\n")
    return header.casefold().startswith("id\ttweet\t") and "\tNONE" not in rows.split("\n", 1)[0]


def _is_dailydialog_text(path: Path, head: str) -> bool:
    return "dialogues_" in path.name and dailydialog.END in head


def _is_dailydialog_parquet(path: Path, head: str) -> bool:
    import pyarrow.parquet as pq  # only Parquet files need Arrow

    try:
        columns = set(pq.read_schema(path).names)
    except (OSError, ValueError):
        return False
    return {"dialog", "emotion"} <= columns or {"utterances", "emotions"} <= columns


def _beside_goemotions(path: Path) -> tuple[Path, ...]:
    labels = path.with_name("emotions.txt")
    return (labels,) if labels.is_file() else ()


# The full edition of EmoryNLP stands before the reduced one: where both lie, the full one is read.
LAYOUTS = (
    CorpusLayout(
        "emorynlp",
        "official JSON",
        ".json",
        lambda _, head: '"episodes"' in head and '"scenes"' in head,
        emorynlp.read_emorynlp,
    ),
    CorpusLayout(
        "emorynlp",
        "reduced CSV",
        ".csv",
        lambda _, head: "Scene_ID" in head.split("\n", 1)[0],
        emorynlp.read_emorynlp_reduced,
    ),
    CorpusLayout(
        "meld",
        "official CSV",
        ".csv",
        lambda _, head: "Dialogue_ID" in head.split("\n", 1)[0],
        meld.read_meld,
    ),
    CorpusLayout(
        "goemotions", "official TSV", ".tsv", _is_goemotions, goemotions.read_goemotions, _beside_goemotions
    ),
    CorpusLayout("semeval2018", "official TSV", ".txt", _is_semeval, semeval2018.read_semeval2018),
    CorpusLayout(
        "dailydialog",
        "original text",
        ".txt",
        _is_dailydialog_text,
        dailydialog.read_dailydialog,
        lambda path: (dailydialog.emotion_file(path),),
    ),
    CorpusLayout(
        "dailydialog", "hub Parquet", ".parquet", _is_dailydialog_parquet, dailydialog.read_dailydialog
    ),
)


def corpora() -> tuple[str, ...]:
    """Names of the corpora there are readers for."""
    return tuple(dict.fromkeys(layout.corpus for layout in LAYOUTS))


def sniff(path: Path) -> Source | None:
    """What `path` is, judged by its first bytes; None for a file of no known corpus."""
    with path.open("rb") as stream:
        head = stream.read(_HEAD_BYTES).decode("utf-8-sig", errors="replace")
    for layout in LAYOUTS:
        if path.suffix.casefold() == layout.suffix and layout.recognises(path, head):
            return Source(path, layout, guess_split(path))
    return None


def guess_split(path: Path) -> str:
    """The split that the file's name, else its folder's, speaks of; `all` when neither does."""
    for name in (path.stem, path.parent.name):
        for word in re.split(r"[^a-z]+", name.casefold()):
            try:
                return split_of(word)
            except InputError:
                continue
    return "all"


def find_sources(path: Path) -> tuple[tuple[Source, ...], tuple[Path, ...]]:
    """The corpus files at `path` (a file, or a folder searched through), and the files that are none.

    Links are not followed. Raises InputError when there is nothing at `path`.
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
    """The split `split` (train, dev, test, or `all` for files of the whole corpus) of corpus `name`.

    Looked for under `root`, else where `erc.data.root` says. Raises InputError for an unknown name or split,
    when the files are absent, when two files claim the split, or when a file is not the one that was
    imported.
    """
    if name not in corpora():
        raise InputError(f"no corpus '{name}': there are readers for {', '.join(corpora())}")
    wanted = split if split == "all" else split_of(split)
    folder = corpus_dir(name, root)
    sources = [source for source in find_sources(folder)[0] if source.layout.corpus == name]
    matching = [source for source in sources if source.split == wanted]
    if not matching:
        there = ", ".join(sorted({source.split for source in sources})) or "none"
        raise InputError(f"no file of the '{wanted}' split of {name}; splits there: {there}", path=folder)
    best = min(LAYOUTS.index(source.layout) for source in matching)
    chosen = [source for source in matching if LAYOUTS.index(source.layout) == best]
    if len(chosen) > 1:
        raise InputError(
            f"{len(chosen)} files claim the '{wanted}' split: {', '.join(source.path.name for source in chosen)}; keep one",
            path=folder,
        )
    corpus = chosen[0].read()
    _verify(corpus, chosen[0].path.parent)
    return corpus


def iter_splits(
    name: str, splits: Sequence[str] = ("train", "dev"), *, root: Path | None = None
) -> Iterator[Corpus]:
    """The named splits one after the other, as `load_corpus` reads them."""
    for split in splits:
        yield load_corpus(name, split, root=root)


def read_checksums(folder: Path) -> dict[str, str]:
    """File name to SHA-256 as recorded by the import; empty where nothing was recorded."""
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
                f"SHA-256 is {file.sha256} but {recorded[file.name]} was imported: import the corpus again",
                path=folder / file.name,
            )
