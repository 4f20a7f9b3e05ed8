"""`erc data`: import, list and check corpora."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.box import SIMPLE
from rich.table import Table

from erc.cli.console import stderr, stdout

if TYPE_CHECKING:
    from erc.data.corpora import CorpusSummary

app = typer.Typer(name="data", help="Import, list and check corpora.", no_args_is_help=True)

Root = Annotated[
    Path | None,
    typer.Option("--root", help="The data folder. Default: CONVEMO_DATA, else the user's data folder."),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]


@app.command("import")
def import_(
    name: Annotated[str, typer.Argument(help="Name of a corpus; `erc data list` shows them.")],
    source: Annotated[
        Path | None, typer.Option("--from", help="A file, folder, zip or tar. Default: the Hugging Face hub.")
    ] = None,
    root: Root = None,
    replace: Annotated[bool, typer.Option("--replace", help="Overwrite files of another version.")] = False,
) -> None:
    """Copy a corpus into the data folder, after a check by its reader, and record checksums."""
    from erc.data.corpora.importing import import_corpus
    from erc.data.corpora.registry import corpus_spec

    imported = import_corpus(name, source=source, root=root, replace=replace)
    for summary in imported.summaries:
        _print_note(summary)
    stderr.print(
        f"imported {len(imported.files)} files into {imported.folder}",
        soft_wrap=True,
        highlight=False,
        markup=False,
    )
    stderr.print(f"licence: {corpus_spec(name).licence}", highlight=False, markup=False)
    for file in imported.files:
        stdout.print(f"{file.sha256}  {file.name}", soft_wrap=True, highlight=False, markup=False)


@app.command("list")
def list_(root: Root = None, as_json: AsJson = False) -> None:
    """List the known corpora, and their splits in the data folder."""
    from erc.data.corpora.inventory import list_corpora

    entries = list_corpora(root=root)
    if as_json:
        typer.echo(json.dumps([entry.to_dict() for entry in entries], indent=2))
        return
    table = Table("corpus", "emotions", "splits", "folder", title="Corpora", box=SIMPLE)
    for entry in entries:
        table.add_row(
            entry.corpus,
            entry.emotion_set,
            ", ".join(entry.splits) or "not imported",
            str(entry.folder or ""),
        )
    stdout.print(table)


@app.command()
def check(
    path: Annotated[
        Path,
        typer.Argument(help="A corpus file or a folder of them; files are recognised by content."),
    ],
    as_json: AsJson = False,
) -> None:
    """Read corpus files and print their figures, checksums and irregularities."""
    from erc.data.corpora.inventory import check_path

    checked = check_path(path)
    for ignored in checked.ignored:
        stderr.print(f"not a corpus file: {ignored}", soft_wrap=True, highlight=False, markup=False)
    if as_json:
        typer.echo(
            json.dumps([summary.to_dict() for summary in checked.summaries], indent=2, ensure_ascii=False)
        )
        return
    for summary in checked.summaries:
        _print_note(summary)
    _print_figures(checked.summaries)
    for summary in checked.summaries:
        _print_details(summary)


def _print_note(summary: CorpusSummary) -> None:
    if summary.note:
        stderr.print(
            f"note: {summary.corpus} {summary.split} is {summary.note}",
            soft_wrap=True,
            highlight=False,
            markup=False,
        )


def _print_figures(summaries: tuple[CorpusSummary, ...]) -> None:
    table = Table(
        "corpus", "split", "edition", title="Figures", box=None, padding=(0, 2, 0, 0)
    )  # seven columns fit into 80
    for column in ("episodes", "conversations", "utterances", "speakers"):
        table.add_column(column, justify="right")
    for s in summaries:
        episodes = "" if s.episodes is None else f"{s.episodes:,}"
        table.add_row(
            s.corpus,
            s.split,
            s.edition,
            episodes,
            f"{s.conversations:,}",
            f"{s.utterances:,}",
            f"{s.speakers:,}",
        )
    stdout.print(table)


def _print_details(summary: CorpusSummary) -> None:
    title = f"{summary.corpus} {summary.split}"
    labels = Table("label", title=f"{title}: labels", box=SIMPLE)
    labels.add_column("utterances", justify="right")
    labels.add_column("share", justify="right")
    for label, count in summary.labels.items():
        labels.add_row(label, f"{count:,}", f"{count / max(summary.utterances, 1):.1%}")
    stdout.print(labels)
    for file in summary.files:
        stdout.print(f"{file.sha256}  {file.name}", soft_wrap=True, highlight=False, markup=False)
    if not summary.anomalies:
        stdout.print("nothing irregular")
        return
    found = Table("irregularity", "what was done", title=f"{title}: irregularities", box=SIMPLE)
    found.add_column("count", justify="right")
    found.add_column("meaning")
    found.add_column("first")
    for anomaly in summary.anomalies:
        found.add_row(anomaly.kind, anomaly.action, f"{anomaly.count:,}", anomaly.detail, anomaly.first)
    stdout.print(found)
