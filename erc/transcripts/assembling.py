"""Builds conversations from drafts: order, ids, indices and clean strings."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator

from erc.data import Conversation, Utterance
from erc.transcripts.decoding import scrub
from erc.transcripts.ordering import in_time_order
from erc.transcripts.types import UNKNOWN_SPEAKER, Draft, Log


def utterance_id(conversation_id: str, index: int) -> str:
    """The id of a turn whose source gives none: `standup-0007` for index 7."""
    return f"{conversation_id}-{index:04d}"


def gather(drafts: Iterable[Draft], *, default_id: str, log: Log) -> Iterator[Conversation]:
    """Yield conversations in order of first appearance. The turns of one may be anywhere in the file."""
    groups: dict[str, list[Draft]] = {}
    for draft in _clean(drafts, default_id, log):
        groups.setdefault(draft.conversation or default_id, []).append(draft)
    for conversation_id, turns in groups.items():
        yield _build(conversation_id, turns, log)


def stream(drafts: Iterable[Draft], *, default_id: str, log: Log) -> Iterator[Conversation]:
    """As `gather`, but hold one conversation in memory: it ends where the id changes.

    An id that occurs again later starts a new conversation `<id>~2`, with a problem.
    """
    seen: dict[str, int] = {}
    for conversation_id, group in itertools.groupby(
        _clean(drafts, default_id, log), key=lambda draft: draft.conversation or default_id
    ):
        turns = list(group)
        seen[conversation_id] = times = seen.get(conversation_id, 0) + 1
        if times > 1:
            fresh = f"{conversation_id}~{times}"
            log.problem(
                turns[0].line,
                f"conversation {conversation_id!r} continues after others: its later turns are conversation "
                f"{fresh!r}; give a file, or sort by conversation",
            )
            conversation_id = fresh
        yield _build(conversation_id, turns, log)


def comes_back(drafts: Iterable[Draft], *, default_id: str, log: Log) -> bool:
    """Whether the turns of some conversation are not consecutive."""
    ended: set[str] = set()
    current = None
    for draft in _clean(drafts, default_id, log):
        conversation_id = draft.conversation or default_id
        if conversation_id in ended:
            return True
        if current not in (None, conversation_id):
            ended.add(str(current))
        current = conversation_id
    return False


def _clean(drafts: Iterable[Draft], default_id: str, log: Log) -> Iterator[Draft]:
    nameless, first = 0, 0
    for draft in drafts:
        draft.text, replaced = scrub(draft.text)
        names = []
        for name in draft.speakers:
            name, count = scrub(name)
            replaced += count
            if name := " ".join(name.split()):
                names.append(name)
        for field in ("conversation", "utterance_id"):
            value, count = scrub(getattr(draft, field) or "")
            setattr(draft, field, value or None)
            replaced += count
        if replaced:
            log.problem(draft.line, f"{replaced} invalid character(s) (lone surrogates or NUL) became U+FFFD")
        if not draft.text.strip():
            log.problem(draft.line, "this turn has no text", "skipped")
            continue
        if not names:
            nameless, first = nameless + 1, first or draft.line
            names = [UNKNOWN_SPEAKER]
        draft.speakers = tuple(dict.fromkeys(names))
        yield draft
    if nameless:
        log.note(
            f"{nameless} turn(s) have no speaker, the first at line {first}: they get {UNKNOWN_SPEAKER!r}"
        )


def _build(conversation_id: str, drafts: list[Draft], log: Log) -> Conversation:
    taken: set[str] = set()
    utterances = []
    for index, draft in enumerate(in_time_order(conversation_id, drafts, log)):
        wanted = draft.utterance_id or utterance_id(conversation_id, index)
        given = _unused(wanted, utterance_id(conversation_id, index), taken)
        if given != wanted:
            log.problem(
                draft.line,
                f"the utterance id {wanted!r} is repeated in conversation {conversation_id!r}",
                f"this turn gets {given!r}",
            )
        taken.add(given)
        utterances.append(
            Utterance(
                utterance_id=given,
                index=index,
                speaker=draft.speakers[0],
                text=draft.text,
                speakers=draft.speakers,
                start=draft.start,
                end=draft.end,
                timestamp=draft.timestamp,
                emotions=draft.emotions,
                meta={"line": draft.line, **draft.meta},
            )
        )
    return Conversation(conversation_id=conversation_id, utterances=tuple(utterances))


def _unused(wanted: str, regular: str, taken: set[str]) -> str:
    if wanted not in taken:
        return wanted
    candidates = itertools.chain([regular], (f"{regular}~{copy}" for copy in itertools.count(2)))
    return next(candidate for candidate in candidates if candidate not in taken)
