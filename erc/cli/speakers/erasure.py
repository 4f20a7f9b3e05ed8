"""`erc speakers forget`, `readmit`, `delete` and `expire`: erase data."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from erc.cli.console import stderr
from erc.cli.speakers.options import AsJson, Memory, Scope, Tenant, Who, Yes, opened, printable, say, show
from erc.errors import InputError

if TYPE_CHECKING:
    from speakers.records import Erasure


def forget(
    speaker: Who,
    memory: Memory,
    tenant: Tenant = "default",
    conversation: Scope = None,
    yes: Yes = False,
    as_json: AsJson = False,
) -> None:
    """Erase everything about a person permanently. A later import does not bring them back."""
    with opened(memory, tenant) as registry:
        person = registry.find(speaker, conversation_id=conversation)
        if not yes:
            name = printable(person.name or person.speaker_id)
            typer.confirm(f"Erase {name} permanently?", abort=True, err=True)
        done = registry.forget(person.speaker_id)
    show(done, as_json, erased(done))


def readmit(
    name: Annotated[str, typer.Argument(metavar="NAME", help="The name of a forgotten person.")],
    memory: Memory,
    tenant: Tenant = "default",
    conversation: Scope = None,
    as_json: AsJson = False,
) -> None:
    """Allow a forgotten name for another person. Erased data is not restored."""
    with opened(memory, tenant) as registry:
        done = registry.readmit(name, conversation_id=conversation)
    line = f"{name} is allowed again" if done else f"{name} was not forgotten here; nothing to do"
    show({"readmitted": done}, as_json, line)


def delete(
    conversation: Annotated[str, typer.Argument(metavar="CONVERSATION", help="Id of the conversation.")],
    memory: Memory,
    tenant: Tenant = "default",
    yes: Yes = False,
    as_json: AsJson = False,
) -> None:
    """Delete a conversation as if it had never been recorded."""
    with opened(memory, tenant) as registry:
        turns = len(registry.texts(conversation))
        if not turns:
            raise InputError(
                f"no conversation {conversation!r} in this memory; 'erc speakers show' lists the ids of turns"
            )
        if not yes:
            question = f"Delete {printable(conversation)} with {turns} utterances permanently?"
            typer.confirm(question, abort=True, err=True)
        done = registry.delete_conversation(conversation)
    show(done, as_json, erased(done))


def expire(memory: Memory, tenant: Tenant = "default", as_json: AsJson = False) -> None:
    """Erase now what the retention policy no longer allows, and report the counts."""
    with opened(memory, tenant, expire=False) as registry:
        if registry.tenant.retention_days is None:
            say("note: no retention policy; see 'erc speakers policy --retention-days'", console=stderr)
        done = registry.expire()
    show(done, as_json, erased(done))


def erased(done: Erasure) -> str:
    """The counts of an erasure in words."""
    return f"erased {done.speakers} speaker(s), {done.observations} observations, {done.bios} bios"
