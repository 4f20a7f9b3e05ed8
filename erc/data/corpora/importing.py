"""Brings a corpus into the data root: from a file, a folder, an archive, or the hub.

Everything is read once by the corpus's reader before a byte reaches the root, and each file appears there
whole or not at all.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path

from erc.data.corpora.archives import is_archive, unpack
from erc.data.corpora.corpus import CorpusFile, corpus_file
from erc.data.corpora.hub import download
from erc.data.corpora.registry import CHECKSUMS, Source, corpora, find_sources, guess_split, read_checksums
from erc.data.corpora.summary import CorpusSummary, summarise
from erc.data.root import data_root
from erc.errors import InputError


@dataclass(frozen=True, slots=True)
class Imported:
    """What an import brought: the corpus's folder, the files with their checksums, and the figures of each split."""

    folder: Path
    files: tuple[CorpusFile, ...]
    summaries: tuple[CorpusSummary, ...]


def import_corpus(
    name: str, *, source: Path | None = None, root: Path | None = None, replace: bool = False
) -> Imported:
    """Copies corpus `name` into the data root (`root`, else the configured one) and records checksums in `SHA256SUMS`.

    `source` is a file, a folder or a zip or tar archive; None downloads from the Hugging Face hub where a
    copy in Parquet lies there. Files of other corpora in `source` are left alone. A file that is there
    already with other bytes is only overwritten with `replace`.

    Raises InputError when nothing of the corpus is found, a file cannot be read as the corpus, an archive is
    not to be trusted, or a file would be overwritten; ConvemoError when the hub cannot be reached.
    """
    if name not in corpora():
        raise InputError(f"no corpus '{name}': there are readers for {', '.join(corpora())}")
    folder = data_root(root) / name
    folder.parent.mkdir(parents=True, exist_ok=True)
    # Staged inside the root, so that the final move stays on one file system.
    with tempfile.TemporaryDirectory(prefix=".import-", dir=folder.parent) as scratch:
        place = _gather(name, source, Path(scratch) / "source")
        sources = [found for found in find_sources(place)[0] if found.layout.corpus == name]
        if not sources:
            raise InputError(
                f"nothing there reads as the corpus '{name}'", path=place if source is None else source
            )
        summaries = tuple(summarise(found.read()) for found in sources)
        staged = _stage(sources, Path(scratch) / "staged")
        files = _publish(staged, folder, replace=replace)
    return Imported(folder, files, summaries)


def _gather(name: str, source: Path | None, scratch: Path) -> Path:
    scratch.mkdir()
    if source is None:
        download(name, scratch)
        return scratch
    if not is_archive(source):
        return source
    unpack(source, scratch)
    for inner in sorted(scratch.rglob("*.zip")):  # DailyDialog's archive holds one archive for each split
        unpack(inner, inner.with_suffix(""))
        inner.unlink()
    return scratch


def _stage(sources: list[Source], staging: Path) -> tuple[Path, ...]:
    """Copies each file and what must lie beside it under a name that tells its split, away from the user's folder."""
    staging.mkdir()
    staged: dict[str, str] = {}
    for source in sources:
        tells = source.split == "all" or guess_split(Path(source.path.name)) == source.split
        for path in (source.path, *source.layout.companions(source.path)):
            target = staging / (path.name if tells else f"{source.split}-{path.name}")
            digest = corpus_file(path).sha256
            if staged.setdefault(target.name, digest) != digest:
                raise InputError(
                    f"two different files would become {target.name}: import one folder at a time", path=path
                )
            shutil.copyfile(path, target)
    return tuple(staging / name for name in sorted(staged))


def _publish(staged: tuple[Path, ...], folder: Path, *, replace: bool) -> tuple[CorpusFile, ...]:
    files = tuple(corpus_file(path) for path in staged)
    for file in files:
        present = folder / file.name
        if present.is_file() and not replace and corpus_file(present).sha256 != file.sha256:
            raise InputError(
                "another version of this file is there already: import with --replace to overwrite it",
                path=present,
            )
    checksums = read_checksums(folder) | {file.name: file.sha256 for file in files}
    record = staged[0].parent / CHECKSUMS
    record.write_text(
        "".join(f"{digest}  {name}\n" for name, digest in sorted(checksums.items())), encoding="utf-8"
    )
    folder.mkdir(exist_ok=True)  # only now: an empty folder would hide a corpus further down the search
    for path in (*staged, record):
        os.replace(path, folder / path.name)
    return files
