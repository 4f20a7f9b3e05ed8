"""`erc speakers export`, `import` and `rebuild`: move a memory and build its index again."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer

from erc.cli.console import stderr
from erc.cli.speakers.options import AsJson, Memory, Tenant, opened, say, show
from erc.errors import InputError


def export(
    memory: Memory,
    speaker: Annotated[str | None, typer.Argument(help="A speaker's name or id. Default: all.")] = None,
    tenant: Tenant = "default",
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="A file. Default: standard output.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON array instead of JSON Lines.")] = False,
) -> None:
    """Everything stored about a person, as JSON Lines. Only the owner can read a new file."""
    from erc.files import opened_for_writing

    with opened(memory, tenant) as registry:
        if output is not None and registry.owns(output):
            raise InputError("a file of the speaker memory itself: export into another file", path=output)
        with _private(), opened_for_writing("-" if output is None else output) as stream:
            lines = registry.export(speaker)
            if as_json:
                data = [json.loads(line) for line in lines]
                stream.write(json.dumps(data, indent=2, ensure_ascii=False).encode() + b"\n")
            else:
                stream.writelines(line.encode() + b"\n" for line in lines)


@contextmanager
def _private() -> Iterator[None]:
    """Create files that only their owner can read: an export has people's words."""
    before = os.umask(0o077)
    try:
        yield
    finally:
        os.umask(before)


def import_(
    file: Annotated[
        typer.FileBinaryRead, typer.Argument(help="An export as JSON Lines; - is standard input.")
    ],
    memory: Memory,
    tenant: Tenant = "default",
    as_json: AsJson = False,
) -> None:
    """Import an export, all or none. Creates a missing memory. The log of changes is not imported."""
    from speakers import Registry

    with Registry.open(memory, tenant=tenant) as registry:
        try:
            done = registry.import_lines(file, source=file.name)
        except BaseException:
            registry.abandon()
            raise
    say(*done.warnings, console=stderr)
    if done.logged:
        say(
            f"note: {done.logged} changes in the export's log are not imported: their effects are, "
            "but they cannot be undone here",
            console=stderr,
        )
    words = (
        f"{done.speakers} speakers and {done.observations} observations imported; "
        f"{done.known} known before, {done.erased} refused as forgotten"
    )
    show(done, as_json, words)


def rebuild(memory: Memory, tenant: Tenant = "default", as_json: AsJson = False) -> None:
    """Build the vector index again from the rows."""
    with opened(memory, tenant) as registry:
        count = registry.rebuild()
    show({"vectors": count}, as_json, f"{count} vectors")
