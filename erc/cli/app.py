"""The command `erc` with its subcommands, one module each.

The modules import torch and transformers inside their functions, so that help and completion are fast.
"""

from __future__ import annotations

from typing import Annotated

import typer

from erc import __version__
from erc.cli import bios, data, models, speakers
from erc.cli.evaluate import evaluate
from erc.cli.label import label
from erc.cli.train import train

EPILOG = (
    "Exit codes: 0 success; 1 failure; 2 unusable input, option or configuration; 3 unusable model folder; "
    "4 a package of an optional extra is missing; 5 no answer from a model server; 130 interrupted."
)

app = typer.Typer(
    name="erc",
    help="Label every turn of a conversation with its emotion, remember each speaker, and say when unsure.",
    epilog=EPILOG,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"erc {__version__}")
        raise typer.Exit()


@app.callback()
def root(
    version: Annotated[
        bool,
        typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and exit."),
    ] = False,
) -> None:
    """Options before the subcommand."""


app.command()(label)
app.command()(train)
app.command()(evaluate)
app.add_typer(models.app)
app.add_typer(speakers.app)
app.add_typer(bios.app)
app.add_typer(data.app)
