"""Downloads the corpora that lie on the Hugging Face hub as Parquet, and writes them in a layout the readers know."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from erc.emotions import load_emotion_set
from erc.errors import ConvemoError, InputError

_SPLITS = {"train": "train", "validation": "dev", "test": "test"}
_ELSEWHERE = {
    "emorynlp": "github.com/emorynlp/emotion-detection",
    "meld": "github.com/declare-lab/MELD (data/MELD)",
}


@dataclass(frozen=True, slots=True)
class HubCopy:
    """Where a corpus lies on the hub: repository, configuration, and the revision with Parquet files where it is not the main one."""

    repository: str
    configuration: str | None = None
    revision: str | None = None


HUB_COPIES: Mapping[str, HubCopy] = {
    "goemotions": HubCopy("google-research-datasets/go_emotions", "simplified"),
    "semeval2018": HubCopy(
        "SemEvalWorkshop/sem_eval_2018_task_1", "subtask5.english", "refs/convert/parquet"
    ),
    "dailydialog": HubCopy("OpenRL/daily_dialog"),
}


def download(name: str, folder: Path) -> tuple[Path, ...]:
    """Writes every split of corpus `name` that the hub has to `folder` and returns the files.

    No code from the hub is run: only Parquet copies are read. Raises InputError for a corpus without such a
    copy, ConvemoError when the hub does not give it.
    """
    copy = HUB_COPIES.get(name)
    if copy is None:
        raise InputError(
            f"'{name}' is not on the hub: download it from {_ELSEWHERE[name]} and run `erc data import {name} --from PATH`"
        )
    from datasets import load_dataset  # slow to import

    try:
        splits = load_dataset(copy.repository, copy.configuration, revision=copy.revision)
    except Exception as error:  # the client lets errors of several HTTP and file-system libraries through
        cause = str(error).strip().split("\n", 1)[0] or type(error).__name__
        raise ConvemoError(
            f"the hub did not give {copy.repository} ({cause}). Without a connection, download '{name}' elsewhere "
            f"and run `erc data import {name} --from PATH`"
        ) from error
    return tuple(
        _WRITERS[name](splits[theirs], folder, ours) for theirs, ours in _SPLITS.items() if theirs in splits
    )


def _one_line(text: str) -> str:
    return " ".join(text.replace("\t", " ").splitlines())


def _write_lines(path: Path, lines: Iterable[str]) -> Path:
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8", newline="\n")
    return path


def _write_goemotions(rows: Iterable[Mapping[str, Any]], folder: Path, split: str) -> Path:
    lines = (
        f"{_one_line(row['text'])}\t{','.join(str(label) for label in row['labels'])}\t{row['id']}"
        for row in rows
    )
    return _write_lines(folder / f"{split}.tsv", lines)


def _write_semeval2018(rows: Iterable[Mapping[str, Any]], folder: Path, split: str) -> Path:
    labels = load_emotion_set("semeval2018").labels
    body = (
        "\t".join([row["ID"], _one_line(row["Tweet"]), *(str(int(row[label])) for label in labels)])
        for row in rows
    )
    return _write_lines(folder / f"2018-E-c-En-{split}.txt", ["\t".join(["ID", "Tweet", *labels]), *body])


def _write_dailydialog(rows: Iterable[Mapping[str, Any]], folder: Path, split: str) -> Path:
    import pyarrow as pa
    import pyarrow.parquet as pq

    records = [{"dialog": list(row["dialog"]), "emotion": list(row["emotion"])} for row in rows]
    path = folder / f"{split}.parquet"
    schema = pa.schema({"dialog": pa.list_(pa.string()), "emotion": pa.list_(pa.int64())})
    pq.write_table(pa.Table.from_pylist(records, schema=schema), path)
    return path


_WRITERS = {
    "goemotions": _write_goemotions,
    "semeval2018": _write_semeval2018,
    "dailydialog": _write_dailydialog,
}
