"""Makes conversation ids unique across the files of one run."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import PurePath

from erc.data import Conversation
from erc.transcripts.assembling import utterance_id


class UniqueIds:
    """Renames conversations of later files whose id an earlier file already has.

    The first file keeps its ids. A later conversation gets the nearest folder of its file that distinguishes
    it (`d2/standup`), or a number if no folder does (`standup-2`). `files` are the names as given, in their
    order.
    """

    def __init__(self, files: Sequence[str]) -> None:
        self._files = [PurePath(name) for name in files]
        self._taken: set[str] = set()

    def among(
        self, conversations: Iterable[Conversation], place: int
    ) -> Iterator[tuple[Conversation, str | None]]:
        """The conversations of file number `place`, each with None or, for the first renamed one, a note."""
        earlier, noted = frozenset(self._taken), False
        for conversation in conversations:
            identifier = conversation.conversation_id
            note = None
            if identifier in earlier:
                conversation = _renamed(conversation, self._unused_id(identifier, place))
                if not noted:
                    note = (
                        f"{self._files[place]}: an earlier file has a conversation {identifier!r}: "
                        f"this one is {conversation.conversation_id!r}"
                    )
                noted = True
            self._taken.add(conversation.conversation_id)
            yield conversation, note

    def _unused_id(self, identifier: str, place: int) -> str:
        numbered = (f"{identifier}-{copy}" for copy in itertools.count(2))
        return next(
            found
            for found in itertools.chain(self._under_folders(identifier, place), numbered)
            if found not in self._taken
        )

    def _under_folders(self, identifier: str, place: int) -> Iterator[str]:
        file = self._files[place]
        folders = [part for part in file.parts[:-1] if part not in (file.anchor, ".", "..")]
        for depth in range(1, len(folders) + 1):
            tail = (*folders[-depth:], file.name)
            if sum(other.parts[-depth - 1 :] == tail for other in self._files) == 1:
                yield "/".join((*folders[-depth:], identifier))
                return


def _renamed(conversation: Conversation, identifier: str) -> Conversation:
    """The conversation with another id. Turn ids that were built from the old id change with it."""
    old = conversation.conversation_id
    turns = tuple(
        replace(turn, utterance_id=utterance_id(identifier, turn.index))
        if turn.utterance_id == utterance_id(old, turn.index)
        else turn
        for turn in conversation
    )
    return replace(conversation, conversation_id=identifier, utterances=turns)
