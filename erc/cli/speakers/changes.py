"""`erc speakers merge`, `split`, `rename`, `alias`, `undo` and `correct`: correct the memory."""

from __future__ import annotations

from typing import Annotated

import typer

from erc.cli.speakers.options import AsJson, Memory, Tenant, Who, opened, show

Source = Annotated[
    str, typer.Argument(metavar="SOURCE", help="The speaker to merge into TARGET, by name or id.")
]
Target = Annotated[str, typer.Argument(metavar="TARGET", help="The speaker that remains, by name or id.")]
NewName = Annotated[str, typer.Argument(metavar="NAME", help="The new or additional name.")]
Entry = Annotated[
    int, typer.Argument(metavar="ENTRY", help="The number of the change in `erc speakers log`.")
]


def merge(
    source: Source, target: Target, memory: Memory, tenant: Tenant = "default", as_json: AsJson = False
) -> None:
    """Make two speakers one person. `undo` reverses it."""
    with opened(memory, tenant) as registry:
        entry = registry.merge(source, target)
    show({"log": entry}, as_json, f"merged; to reverse it: erc speakers undo {entry}")


def split(
    speaker: Who,
    memory: Memory,
    tenant: Tenant = "default",
    conversation: Annotated[
        list[str] | None,
        typer.Option("--conversation", help="A conversation of the other person. Repeatable."),
    ] = None,
    utterance: Annotated[
        list[str] | None,
        typer.Option("--utterance", help="CONVERSATION:UTTERANCE of the other person. Repeatable."),
    ] = None,
    name: Annotated[str | None, typer.Option("--name", help="The other person's name.")] = None,
    as_json: AsJson = False,
) -> None:
    """Give some of a speaker's turns to a new speaker. `undo` reverses it."""
    pairs = [tuple(one.rsplit(":", 1)) for one in utterance or []]
    if any(len(pair) != 2 for pair in pairs):
        raise typer.BadParameter("--utterance is CONVERSATION:UTTERANCE", param_hint="--utterance")
    with opened(memory, tenant) as registry:
        entry, fresh = registry.split(
            speaker,
            conversations=conversation or [],
            utterances=[(one, two) for one, two in pairs],
            name=name,
        )
    reverse = f"to reverse it: erc speakers undo {entry}"
    show({"log": entry, "speaker_id": fresh}, as_json, fresh, reverse)


def rename(
    speaker: Who, name: NewName, memory: Memory, tenant: Tenant = "default", as_json: AsJson = False
) -> None:
    """Change a speaker's displayed name. The old one stays an alias. `undo` reverses it."""
    with opened(memory, tenant) as registry:
        entry = registry.rename(speaker, name)
    show({"log": entry}, as_json, f"renamed; to reverse it: erc speakers undo {entry}")


def alias(
    speaker: Who, name: NewName, memory: Memory, tenant: Tenant = "default", as_json: AsJson = False
) -> None:
    """Add an alias to a speaker. `undo` reverses it."""
    with opened(memory, tenant) as registry:
        entry = registry.alias(speaker, name)
    show({"log": entry}, as_json, f"added; to reverse it: erc speakers undo {entry}")


def undo(entry: Entry, memory: Memory, tenant: Tenant = "default", as_json: AsJson = False) -> None:
    """Reverse a merge, split, rename or alias."""
    with opened(memory, tenant) as registry:
        number = registry.undo(entry)
    show({"log": number}, as_json, f"entry {entry} is undone")


def correct(
    conversation: Annotated[str, typer.Argument(metavar="CONVERSATION", help="Id of the conversation.")],
    utterance: Annotated[str, typer.Argument(metavar="UTTERANCE", help="Id of the turn.")],
    memory: Memory,
    emotion: Annotated[
        str | None,
        typer.Argument(metavar="EMOTION", help="The right emotion, stored in addition to the labels."),
    ] = None,
    remove: Annotated[bool, typer.Option("--remove", help="Remove the correction of the turn.")] = False,
    tenant: Tenant = "default",
    as_json: AsJson = False,
) -> None:
    """Store the right emotion of a turn. `erc speakers show` lists the ids."""
    if (emotion is None) != remove:
        raise typer.BadParameter("give either EMOTION or --remove", param_hint="EMOTION")
    with opened(memory, tenant) as registry:
        registry.correct(conversation, utterance, emotion)
    value = {"conversation_id": conversation, "utterance_id": utterance, "correction": emotion}
    turn = f"{conversation} {utterance}"
    show(value, as_json, f"{turn}: correction removed" if remove else f"{turn}: corrected to {emotion}")
