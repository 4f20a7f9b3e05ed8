"""`erc speakers`: inspect, correct, export and erase the speaker memory."""

from __future__ import annotations

import typer

from erc.cli.speakers import changes, erasure, inspect, policy, transfer

app = typer.Typer(
    name="speakers", help="Inspect, correct, export and erase the speaker memory.", no_args_is_help=True
)

app.command("list")(inspect.list_)
app.command()(inspect.show)
app.command()(inspect.log)
app.command()(inspect.tenants)
app.command()(inspect.path)
app.command()(changes.merge)
app.command()(changes.split)
app.command()(changes.rename)
app.command()(changes.alias)
app.command()(changes.undo)
app.command()(changes.correct)
app.command()(erasure.forget)
app.command()(erasure.readmit)
app.command()(erasure.delete)
app.command()(erasure.expire)
app.command()(policy.policy)
app.command()(transfer.export)
app.command("import")(transfer.import_)
app.command()(transfer.rebuild)
