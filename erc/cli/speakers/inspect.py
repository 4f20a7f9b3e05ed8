"""`erc speakers list`, `show`, `log`, `tenants` and `path`: read the memory."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated

import typer
from rich.box import SIMPLE
from rich.table import Table
from rich.text import Text

from erc.cli.console import stdout
from erc.cli.speakers import options
from erc.cli.speakers.options import AsJson, Memory, Scope, Tenant, Who, opened, plain, printable

if TYPE_CHECKING:
    from speakers import SpeakerContext, SpeakerId
    from speakers.records import AuditEntry, LoggedNames


def list_(memory: Memory, tenant: Tenant = "default", as_json: AsJson = False) -> None:
    """All speakers, with the number of their turns and conversations."""
    from speakers import END

    with opened(memory, tenant) as registry:
        people = registry.speakers()
        contexts = registry.contexts([(one.speaker_id, END) for one in people], limit=0)
    if as_json:
        counts = [{"utterances": one.utterances, "conversations": one.conversations} for one in contexts]
        options.show([plain(one) | count for one, count in zip(people, counts, strict=True)], True)
        return
    columns = ("speaker", "name", "also", "only in", "utterances", "conversations")
    table = Table(*columns, title="Speakers", box=SIMPLE)
    for one, context in zip(people, contexts, strict=True):
        row = (
            one.speaker_id,
            one.name or "",
            ", ".join(one.aliases),
            one.scope or "",
            str(context.utterances),
            str(context.conversations),
        )
        table.add_row(*(Text(printable(cell)) for cell in row))
    stdout.print(table)


def show(
    speaker: Who,
    memory: Memory,
    tenant: Tenant = "default",
    conversation: Scope = None,
    turns: Annotated[int, typer.Option("--turns", min=0, help="How many of the last turns to show.")] = 12,
    as_json: AsJson = False,
) -> None:
    """What is stored about a speaker: last turns, usual emotions, bio, and identity changes."""
    from speakers import END

    with opened(memory, tenant) as registry:
        person = registry.find(speaker, conversation_id=conversation)
        context = registry.context(person.speaker_id, before=END, limit=turns)
        entries = registry.log(person.speaker_id)
        names = registry.names(entries)
    also = f" (also {', '.join(person.aliases)})" if person.aliases else ""
    options.show(
        {"speaker": person, "context": context, "log": entries},
        as_json,
        f"{person.name or 'no name stored'}{also} {person.speaker_id}",
        *_context_lines(context),
        *(f"log {_change(one, names)}" for one in entries),
    )


def _context_lines(context: SpeakerContext) -> Iterator[str]:
    yield f"{context.utterances} utterances in {context.conversations} conversations"
    usual = sorted(context.summary.weights.items(), key=lambda pair: -pair[1])[:5]
    if usual:
        weights = ", ".join(f"{label} {weight:.2f}" for label, weight in usual)
        yield f"usually {weights}; unknown {context.summary.unknown:.2f}"
    if context.bio is not None:
        yield f"bio {context.bio.version} ({context.bio.writer}): {context.bio.text}"
    for one in context.observations:
        label = one.correction or (
            one.label.emotion
            if one.label is not None
            else max(one.weights, key=one.weights.__getitem__, default="")
        )
        words = "(no words stored)" if one.text is None else one.text
        yield f"{one.conversation_id} {one.utterance_id} {label}: {words}"


def log(memory: Memory, tenant: Tenant = "default", as_json: AsJson = False) -> None:
    """Identity changes, oldest first: number, time (UTC), the change, and the current names."""
    with opened(memory, tenant) as registry:
        entries = registry.log()
        names = registry.names(entries)
    options.show(entries, as_json, *(_change(one, names) for one in entries))


def _change(entry: AuditEntry, names: LoggedNames) -> str:
    """A log entry in words."""

    def called(speaker_id: SpeakerId | None) -> str:
        return " ".join(filter(None, (names.speakers.get(speaker_id or ""), speaker_id)))

    who, other, detail = called(entry.speaker_id), called(entry.other_id), entry.detail
    number = detail.get("alias")
    given = names.aliases.get(number) if isinstance(number, int) else None
    before = f", {detail['old']} before" if detail.get("old") else ""
    what = {
        "merge": f"merge {who} into {other}",
        "split": f"split {other} off {who}",
        "rename": f"rename {who}{before}" + (f", {given} since" if given else ""),
        "alias": f"alias {given or ''} of {who}",
        "undo": f"undo {detail.get('entry', '')}: {' and '.join(filter(None, (who, other)))}",
    }.get(entry.action, " ".join(filter(None, (entry.action, who, other))))
    when = datetime.fromtimestamp(entry.at, UTC).strftime("%Y-%m-%d %H:%M:%S")
    return f"{entry.audit} {when} {what}{f' (undone by {entry.undone_by})' if entry.undone_by else ''}"


def tenants(memory: Memory, as_json: AsJson = False) -> None:
    """The tenants of a store, in order of creation."""
    from speakers import Registry

    names = Registry.tenants(memory)
    options.show(names, as_json, *names)


def path(memory: Memory, tenant: Tenant = "default", as_json: AsJson = False) -> None:
    """The address of the memory."""
    with opened(memory, tenant) as registry:
        options.show({"memory": registry.address, "tenant": tenant}, as_json, registry.address)
