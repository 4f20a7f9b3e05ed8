"""`erc speakers`: look into the speaker memory, mend who is who, and do what a person asks with what is held about them."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, is_dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.box import SIMPLE
from rich.console import Console
from rich.table import Table
from rich.text import Text

from erc.cli.console import stderr, stdout
from erc.errors import InputError
from erc.files import opened_for_writing

if TYPE_CHECKING:
    from speakers import Registry, SpeakerContext, SpeakerId
    from speakers.records import AuditEntry, LoggedNames

app = typer.Typer(
    name="speakers", help="Inspect, correct, export and erase the speaker memory.", no_args_is_help=True
)

Memory = Annotated[
    str,
    typer.Option(
        "--memory", envvar="CONVEMO_MEMORY", help="The speaker memory: a file or a postgresql:// URL."
    ),
]
Tenant = Annotated[str, typer.Option("--tenant", help="Tenant to use, where one store holds several.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Who = Annotated[str, typer.Argument(metavar="SPEAKER", help="A speaker's name or id (spk_...).")]
Source = Annotated[
    str, typer.Argument(metavar="SOURCE", help="Speaker to merge, by name or id; goes into TARGET.")
]
Target = Annotated[str, typer.Argument(metavar="TARGET", help="Speaker that remains, by name or id.")]
NewName = Annotated[str, typer.Argument(metavar="NAME", help="The new or additional name.")]
Entry = Annotated[int, typer.Argument(metavar="ENTRY", help="Number of the change in `erc speakers log`.")]
Scope = Annotated[
    str | None,
    typer.Option("--conversation", help="The conversation a generic name such as SPEAKER_00 is bound to."),
]


@contextmanager
def _open(memory: str, tenant: str) -> Iterator[Registry]:
    from speakers import Options, Registry

    with Registry.open(memory, tenant=tenant, options=Options(create=False)) as registry:
        yield registry


def _plain(value: Any) -> Any:
    """A value as JSON can hold it; vectors stay in the store (`export` gives them)."""
    if is_dataclass(value) and not isinstance(value, type):
        return {key: _plain(item) for key, item in asdict(value).items() if key != "vector"}
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items() if key != "vector"}
    return [_plain(item) for item in value] if isinstance(value, list | tuple) else value


def _shown(text: str) -> str:
    """A person's words for a terminal: control characters as their code, so that they cannot redraw it."""
    return "".join(one if one.isprintable() else f"<U+{ord(one):04X}>" for one in text)


def _say(*lines: str, console: Console = stdout) -> None:
    """Every line that goes to a terminal goes through here, for anything in it may come from a transcript: names, ids and labels too."""
    for line in lines:
        console.print(_shown(line), soft_wrap=True, highlight=False, markup=False)


def _print(value: Any, as_json: bool, *lines: str) -> None:
    if as_json:
        typer.echo(json.dumps(_plain(value), indent=2, ensure_ascii=False))
    else:
        _say(*lines)


@app.command("list")
def list_(memory: Memory, tenant: Tenant = "default", as_json: AsJson = False) -> None:
    """Everybody there is, with how often they spoke."""
    from speakers import END

    with _open(memory, tenant) as registry:
        people = registry.speakers()
        contexts = registry.contexts([(one.speaker_id, END) for one in people], limit=0)
    if as_json:
        counts = [{"utterances": one.utterances, "conversations": one.conversations} for one in contexts]
        typer.echo(
            json.dumps(
                [_plain(one) | count for one, count in zip(people, counts, strict=True)],
                indent=2,
                ensure_ascii=False,
            )
        )
        return
    table = Table(
        "speaker", "name", "also", "only in", "utterances", "conversations", title="Speakers", box=SIMPLE
    )
    for one, context in zip(people, contexts, strict=True):
        row = (
            one.speaker_id,
            one.name or "",
            ", ".join(one.aliases),
            one.scope or "",
            str(context.utterances),
            str(context.conversations),
        )
        table.add_row(*(Text(_shown(cell)) for cell in row))
    stdout.print(table)


@app.command()
def show(
    speaker: Who,
    memory: Memory,
    tenant: Tenant = "default",
    conversation: Scope = None,
    turns: Annotated[int, typer.Option("--turns", min=0, help="How many of the last turns to show.")] = 12,
    as_json: AsJson = False,
) -> None:
    """What is remembered of a speaker: last turns, usual emotions, bio, and changes of identity."""
    from speakers import END

    with _open(memory, tenant) as registry:
        person = registry.find(speaker, conversation_id=conversation)
        context, log = (
            registry.context(person.speaker_id, before=END, limit=turns),
            registry.log(person.speaker_id),
        )
        names = registry.names(log)
    if as_json:
        typer.echo(
            json.dumps(
                _plain({"speaker": person, "context": context, "log": log}), indent=2, ensure_ascii=False
            )
        )
        return
    also = f" (also {', '.join(person.aliases)})" if person.aliases else ""
    _say(
        f"{person.name or 'no name kept'}{also} {person.speaker_id}",
        *_lines(context),
        *(f"log {_change(one, names)}" for one in log),
    )


def _lines(context: SpeakerContext) -> Iterator[str]:
    yield f"{context.utterances} utterances in {context.conversations} conversations"
    usual = sorted(context.summary.weights.items(), key=lambda pair: -pair[1])[:5]
    if usual:
        yield (
            "usually "
            + ", ".join(f"{label} {weight:.2f}" for label, weight in usual)
            + f"; unknown {context.summary.unknown:.2f}"
        )
    if context.bio is not None:
        yield f"bio {context.bio.version} ({context.bio.writer}): {context.bio.text}"
    for one in context.observations:
        label = one.correction or (
            one.label.emotion
            if one.label is not None
            else max(one.weights, key=one.weights.__getitem__, default="")
        )
        yield f"{one.conversation_id} {one.utterance_id} {label}: {'(no words kept)' if one.text is None else one.text}"


@app.command()
def path(memory: Memory, tenant: Tenant = "default", as_json: AsJson = False) -> None:
    """Where the memory is kept."""
    with _open(memory, tenant) as registry:
        _print({"memory": registry.address, "tenant": tenant}, as_json, registry.address)


@app.command()
def merge(
    source: Source, target: Target, memory: Memory, tenant: Tenant = "default", as_json: AsJson = False
) -> None:
    """Make the first speaker the same person as the second. `undo` reverses it."""
    with _open(memory, tenant) as registry:
        entry = registry.merge(source, target)
        _print({"log": entry}, as_json, f"merged; to reverse it: erc speakers undo {entry}")


@app.command()
def split(
    speaker: Who,
    memory: Memory,
    tenant: Tenant = "default",
    conversation: Annotated[
        list[str] | None,
        typer.Option("--conversation", help="A conversation that is another person's. May be repeated."),
    ] = None,
    utterance: Annotated[
        list[str] | None,
        typer.Option("--utterance", help="CONVERSATION:UTTERANCE of another person's. May be repeated."),
    ] = None,
    name: Annotated[str | None, typer.Option("--name", help="The other person's name.")] = None,
    as_json: AsJson = False,
) -> None:
    """Give some of a speaker's turns to a new speaker. `undo` reverses it."""
    pairs = [tuple(one.rsplit(":", 1)) for one in utterance or []]
    if any(len(pair) != 2 for pair in pairs):
        raise typer.BadParameter("--utterance is CONVERSATION:UTTERANCE", param_hint="--utterance")
    with _open(memory, tenant) as registry:
        entry, fresh = registry.split(
            speaker,
            conversations=conversation or [],
            utterances=[(one, two) for one, two in pairs],
            name=name,
        )
        _print(
            {"log": entry, "speaker_id": fresh}, as_json, fresh, f"to reverse it: erc speakers undo {entry}"
        )


@app.command()
def rename(
    speaker: Who, name: NewName, memory: Memory, tenant: Tenant = "default", as_json: AsJson = False
) -> None:
    """Show a speaker under another name; the old one stays an alias."""
    with _open(memory, tenant) as registry:
        entry = registry.rename(speaker, name)
        _print({"log": entry}, as_json, f"renamed; to reverse it: erc speakers undo {entry}")


@app.command()
def alias(
    speaker: Who, name: NewName, memory: Memory, tenant: Tenant = "default", as_json: AsJson = False
) -> None:
    """Let a speaker answer to one more name."""
    with _open(memory, tenant) as registry:
        entry = registry.alias(speaker, name)
        _print({"log": entry}, as_json, f"added; to reverse it: erc speakers undo {entry}")


@app.command()
def log(memory: Memory, tenant: Tenant = "default", as_json: AsJson = False) -> None:
    """Changes of identity, oldest first: number, time (UTC), what was done to whom, under the names they have now."""
    with _open(memory, tenant) as registry:
        entries = registry.log()
        names = registry.names(entries)
    _print(entries, as_json, *(_change(one, names) for one in entries))


def _change(entry: AuditEntry, names: LoggedNames) -> str:
    """An entry of the log in words."""

    def called(speaker_id: SpeakerId | None) -> str:
        return " ".join(filter(None, (names.speakers.get(speaker_id or ""), speaker_id)))

    who, other, detail = called(entry.speaker_id), called(entry.other_id), entry.detail
    number = detail.get("alias")
    given = names.aliases.get(number) if isinstance(number, int) else None
    what = {
        "merge": f"merge {who} into {other}",
        "split": f"split {other} off {who}",
        "rename": f"rename {who}"
        + (f", {detail['old']} before" if detail.get("old") else "")
        + (f", {given} since" if given else ""),
        "alias": f"alias {given or ''} of {who}",
        "undo": f"undo {detail.get('entry', '')}: {' and '.join(filter(None, (who, other)))}",
    }.get(entry.action, " ".join(filter(None, (entry.action, who, other))))
    when = datetime.fromtimestamp(entry.at, UTC).strftime("%Y-%m-%d %H:%M:%S")
    return f"{entry.audit} {when} {what}{f' (undone by {entry.undone_by})' if entry.undone_by else ''}"


@app.command()
def undo(entry: Entry, memory: Memory, tenant: Tenant = "default", as_json: AsJson = False) -> None:
    """Reverse a merge, split, rename or alias by its number in the log."""
    with _open(memory, tenant) as registry:
        _print({"log": registry.undo(entry)}, as_json, f"entry {entry} is undone")


@app.command()
def forget(
    speaker: Who,
    memory: Memory,
    tenant: Tenant = "default",
    conversation: Scope = None,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask for confirmation.")] = False,
    as_json: AsJson = False,
) -> None:
    """Erase everything about a person, for good. A later import does not bring them back."""
    with _open(memory, tenant) as registry:
        person = registry.find(speaker, conversation_id=conversation)
        if not yes:
            typer.confirm(f"Erase {_shown(person.name or person.speaker_id)} for good?", abort=True, err=True)
        done = registry.forget(person.speaker_id)
        _print(
            done,
            as_json,
            f"erased {done.speakers} speaker(s), {done.observations} observations, {done.bios} bios",
        )


@app.command()
def export(
    memory: Memory,
    speaker: Annotated[str | None, typer.Argument(help="A speaker's name or id. Default: everybody.")] = None,
    tenant: Tenant = "default",
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="A file. Default: standard output.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON array instead of JSON Lines.")] = False,
) -> None:
    """Everything held about a person, as JSON Lines. A new file is readable by its owner alone."""
    with _open(memory, tenant) as registry:
        if output is not None and registry.owns(output):
            raise InputError(
                "this is a file of the speaker memory itself: export into another one", path=output
            )
        with _private(), opened_for_writing("-" if output is None else output) as stream:
            lines = registry.export(speaker)
            if as_json:
                stream.write(
                    json.dumps([json.loads(line) for line in lines], indent=2, ensure_ascii=False).encode()
                    + b"\n"
                )
            else:
                stream.writelines(line.encode() + b"\n" for line in lines)


@contextmanager
def _private() -> Iterator[None]:
    """Files made within are their owner's alone, as the memory is whose words they hold."""
    before = os.umask(0o077)
    try:
        yield
    finally:
        os.umask(before)


@app.command("import")
def import_(
    file: Annotated[
        typer.FileBinaryRead, typer.Argument(help="An export as JSON Lines; - is standard input.")
    ],
    memory: Memory,
    tenant: Tenant = "default",
    as_json: AsJson = False,
) -> None:
    """Take an export in, all of it or none; makes the memory if there is none. The log of changes is not taken in."""
    from speakers import Registry

    with Registry.open(memory, tenant=tenant) as registry:
        try:
            done = registry.import_lines(file, source=file.name)
        except BaseException:
            registry.abandon()
            raise
    _say(*done.warnings, console=stderr)
    if done.logged:
        _say(
            f"note: {done.logged} changes in the export's log are not taken in: what they changed stands, but cannot be undone here",
            console=stderr,
        )
    words = f"{done.speakers} speakers and {done.observations} observations taken in; {done.known} known before, {done.erased} refused as forgotten"
    _print(done, as_json, words)


@app.command()
def rebuild(memory: Memory, tenant: Tenant = "default", as_json: AsJson = False) -> None:
    """Make the vector index afresh from the rows."""
    with _open(memory, tenant) as registry:
        held = registry.rebuild()
        _print({"vectors": held}, as_json, f"{held} vectors")
