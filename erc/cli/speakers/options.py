"""Options and output that the commands of `erc speakers` share."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, is_dataclass
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console

from erc.cli.console import stdout

if TYPE_CHECKING:
    from speakers import Registry

Memory = Annotated[
    str,
    typer.Option(
        "--memory", envvar="CONVEMO_MEMORY", help="The speaker memory: a file or a postgresql:// URL."
    ),
]
Tenant = Annotated[str, typer.Option("--tenant", help="The tenant, if the store has several.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask for confirmation.")]
Who = Annotated[str, typer.Argument(metavar="SPEAKER", help="A speaker's name or id (spk_...).")]
Scope = Annotated[
    str | None,
    typer.Option("--conversation", help="The conversation to which a generic name (SPEAKER_00) is bound."),
]


@contextmanager
def opened(memory: str, tenant: str, *, expire: bool = True) -> Iterator[Registry]:
    """An existing memory and tenant, closed afterwards.

    Raises:
        StoreError: there is no such memory, or it cannot be opened.
        UnknownTenantError: there is no such tenant.
    """
    from speakers import Options, Registry

    with Registry.open(memory, tenant=tenant, options=Options(create=False, expire=expire)) as registry:
        yield registry


def plain(value: Any) -> Any:
    """A value as JSON types, without vectors. `erc speakers export` includes them."""
    if is_dataclass(value) and not isinstance(value, type):
        return {key: plain(item) for key, item in asdict(value).items() if key != "vector"}
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items() if key != "vector"}
    return [plain(item) for item in value] if isinstance(value, list | tuple) else value


def printable(text: str) -> str:
    """The text with control characters as their code, so that it cannot control the terminal."""
    return "".join(one if one.isprintable() else f"<U+{ord(one):04X}>" for one in text)


def say(*lines: str, console: Console = stdout) -> None:
    """Print lines safely. Names, ids and labels may all come from a transcript, so every line goes here."""
    for line in lines:
        console.print(printable(line), soft_wrap=True, highlight=False, markup=False)


def show(value: Any, as_json: bool, *lines: str) -> None:
    """Print a value as JSON, or else the lines."""
    if as_json:
        typer.echo(json.dumps(plain(value), indent=2, ensure_ascii=False))
    else:
        say(*lines)
