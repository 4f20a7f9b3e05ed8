"""Imports a corpus into the data root from a file, a folder, an archive or the hub.

The corpus's reader checks all files first. Each file is written to the root completely or not at all.
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
from erc.data.corpora.registry import (
    CHECKSUMS,
    Source,
    corpus_spec,
    find_sources,
    guess_split,
    read_checksums,
)
from erc.data.corpora.spec import CorpusSpec
from erc.data.corpora.summary import CorpusSummary, summarise
from erc.data.root import data_root
from erc.errors import InputError


@dataclass(frozen=True, slots=True)
class Imported:
    """The result of an import: the corpus's folder, its files, and the figures of each split."""

    folder: Path
    files: tuple[CorpusFile, ...]
    summaries: tuple[CorpusSummary, ...]


def import_corpus(
    name: str, *, source: Path | None = None, root: Path | None = None, replace: bool = False
) -> Imported:
    """Copy a corpus into the data root and record checksums in `SHA256SUMS`.

    Args:
        name: A name of the table of corpora.
        source: A file, a folder, or a zip or tar archive; None downloads from the Hugging Face hub. Files of
            other corpora are ignored.
        root: The data root; None uses the configured one.
        replace: Overwrite files that are there with other contents.

    Raises:
        InputError: for an unknown name, a source without files of the corpus, a file that cannot be read, an
            unsafe archive, or a file that would be overwritten without `replace`.
        ConvemoError: when the download fails.
    """
    spec = corpus_spec(name)
    folder = data_root(root) / name
    folder.parent.mkdir(parents=True, exist_ok=True)
    # Staged inside the root, so that the final move stays on one file system.
    with tempfile.TemporaryDirectory(prefix=".import-", dir=folder.parent) as scratch:
        place = _gather(spec, source, Path(scratch) / "source")
        sources = [found for found in find_sources(place)[0] if found.corpus == name]
        if not sources:
            raise InputError(
                f"no file of the corpus '{name}' is there", path=place if source is None else source
            )
        summaries = tuple(summarise(found.read()) for found in sources)
        staged = _stage(sources, Path(scratch) / "staged")
        files = _publish(staged, folder, replace=replace)
    return Imported(folder, files, summaries)


def _gather(spec: CorpusSpec, source: Path | None, scratch: Path) -> Path:
    scratch.mkdir()
    if source is None:
        download(spec, scratch)
        return scratch
    if not is_archive(source):
        return source
    unpack(source, scratch)
    for inner in sorted(scratch.rglob("*.zip")):  # DailyDialog's archive holds one archive for each split
        unpack(inner, inner.with_suffix(""))
        inner.unlink()
    return scratch


def _stage(sources: list[Source], staging: Path) -> tuple[Path, ...]:
    """Copy each file and its companions into `staging`, under names that contain the split."""
    staging.mkdir()
    staged: dict[str, str] = {}
    for source in sources:
        has_split = source.split == "all" or guess_split(Path(source.path.name)) == source.split
        for path in (source.path, *source.layout.companions(source.path)):
            target = staging / (path.name if has_split else f"{source.split}-{path.name}")
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
                "another version of this file exists: import with --replace to overwrite it",
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
