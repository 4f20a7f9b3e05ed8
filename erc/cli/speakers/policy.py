"""`erc speakers policy`: show or set what a memory stores and for how long."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from erc.cli.speakers.erasure import erased
from erc.cli.speakers.options import AsJson, Memory, Tenant, Yes, show

if TYPE_CHECKING:
    from speakers import Registry


def policy(
    memory: Memory,
    tenant: Tenant = "default",
    create: Annotated[
        bool, typer.Option("--create", help="Create a missing memory or tenant with this policy.")
    ] = False,
    no_text: Annotated[bool, typer.Option("--no-text", help="Store no words. New tenants only.")] = False,
    pseudonymous: Annotated[
        bool, typer.Option("--pseudonymous", help="Store no names. New tenants only.")
    ] = False,
    retention_days: Annotated[
        float | None,
        typer.Option("--retention-days", help="Erase conversations this many days after their recording."),
    ] = None,
    no_retention: Annotated[
        bool, typer.Option("--no-retention", help="Keep conversations indefinitely.")
    ] = False,
    yes: Yes = False,
    as_json: AsJson = False,
) -> None:
    """Show the policy of a memory; with options, set it.

    Only the retention of an existing tenant can be changed.
    """
    from speakers import Options, Policy, Registry

    if no_retention and retention_days is not None:
        raise typer.BadParameter(
            "give either --retention-days or --no-retention", param_hint="--no-retention"
        )
    Policy(retention_days=retention_days)  # checks the value before anything is created
    wanted = Policy(text=False if no_text else None, pseudonymous=True if pseudonymous else None)
    options = Options(policy=wanted, create=create)
    with Registry.open(memory, tenant=tenant, options=options) as registry:
        lines = []
        if no_retention or retention_days is not None:
            lines = _set_retention(registry, retention_days, yes)
        found = registry.tenant
    kept = "indefinitely" if found.retention_days is None else f"for {found.retention_days:g} days"
    value = {
        "tenant": found.name,
        "text": found.keeps_text,
        "pseudonymous": found.pseudonymous,
        "retention_days": found.retention_days,
    }
    show(
        value,
        as_json,
        *lines,
        f"tenant {found.name}",
        f"words: {'stored' if found.keeps_text else 'not stored'}",
        f"names: {'only keyed digests' if found.pseudonymous else 'stored'}",
        f"conversations: kept {kept}",
    )


def _set_retention(registry: Registry, days: float | None, yes: bool) -> list[str]:
    """Change the retention and apply it; returns lines about the erased data."""
    if days is not None and not yes and registry.speakers():
        question = f"Erase conversations older than {days:g} days, now and from now on?"
        typer.confirm(question, abort=True, err=True)
    registry.set_retention(days)
    return [] if days is None else [erased(registry.expire())]
