"""Downloads corpora from the Hugging Face hub, and writes them in a layout that the readers know."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from erc.data.corpora.spec import CorpusSpec
from erc.errors import ConvemoError, InputError

_SPLITS = {"train": "train", "validation": "dev", "test": "test"}


def download(spec: CorpusSpec, folder: Path) -> tuple[Path, ...]:
    """Download every split of a corpus into `folder` and return the files.

    Reads Parquet copies only, so no code from the hub is run.

    Raises:
        InputError: for a corpus without such a copy.
        ConvemoError: when the download fails.
    """
    copy = spec.hub
    by_hand = f"run `erc data import {spec.name} --from PATH`"
    if copy is None:
        raise InputError(f"'{spec.name}' is not on the hub: download it from {spec.home} and {by_hand}")
    from datasets import load_dataset  # slow to import

    try:
        splits = load_dataset(copy.repository, copy.configuration, revision=copy.revision)
    except Exception as error:  # the client passes on errors of several HTTP and file-system libraries
        cause = str(error).strip().split("\n", 1)[0] or type(error).__name__
        raise ConvemoError(
            f"cannot download {copy.repository} ({cause}). Without a connection, "
            f"download '{spec.name}' elsewhere and {by_hand}"
        ) from error
    return tuple(
        copy.write(splits[theirs], folder, ours) for theirs, ours in _SPLITS.items() if theirs in splits
    )


def one_line(text: str) -> str:
    """`text` with spaces for tabs and line breaks, for files with one row per line."""
    return " ".join(text.replace("\t", " ").splitlines())


def write_lines(path: Path, lines: Iterable[str]) -> Path:
    """Write `lines` to `path` in UTF-8 and return the path."""
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8", newline="\n")
    return path
