"""`erc models`: list models, show their cards, print their folders."""

from __future__ import annotations

import json as jsonlib
from typing import Annotated, Any

import typer
from rich.markdown import Markdown
from rich.table import Table

from erc.cli.console import stdout

app = typer.Typer(name="models", help="List, describe and find models.", no_args_is_help=True)

_Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
_Name = Annotated[str, typer.Argument(help="Name or folder of a model.")]


@app.command("list")
def list_(json: _Json = False) -> None:
    """List the models that can be used by name."""
    from erc.persistence.catalog import list_models
    from erc.persistence.layout import read_json

    rows: list[dict[str, Any]] = []
    for entry in list_models():
        info = read_json(entry.path / "artefact.json")
        size = sum(p.stat().st_size for p in entry.path.rglob("*") if p.is_file())
        rows.append(
            {
                "name": entry.name,
                "version": info["version"],
                "kind": info["kind"],
                "emotions": info["emotion_set"],
                "base": info["base"],
                "bytes": size,
                "shipped": entry.shipped,
                "path": str(entry.path),
            }
        )
    if json:
        stdout.print_json(jsonlib.dumps(rows))
        return
    table = Table("name", "version", "kind", "emotions", "base", "size", "shipped")
    for row in rows:
        megabytes, kept = f"{row['bytes'] / 1e6:.1f} MB", "yes" if row["shipped"] else "no"
        table.add_row(
            row["name"], str(row["version"]), row["kind"], row["emotions"], row["base"], megabytes, kept
        )
    stdout.print(table)


@app.command()
def show(name: _Name, json: _Json = False) -> None:
    """Show the card of a model, or with --json its full description and dev figures."""
    from erc.persistence.catalog import find_model
    from erc.persistence.layout import LAYOUT, read_json

    folder = find_model(name)
    if json:
        stdout.print_json(
            jsonlib.dumps(
                {"artefact": read_json(folder / LAYOUT.info), "metrics": read_json(folder / LAYOUT.metrics)}
            )
        )
        return
    text = (folder / LAYOUT.card).read_text(encoding="utf-8")
    if text.startswith("---"):
        text = text.split("---", 2)[2]
    stdout.print(Markdown(text))


@app.command()
def path(name: _Name) -> None:
    """Print the folder of a model."""
    from erc.persistence.catalog import find_model

    typer.echo(str(find_model(name)))
