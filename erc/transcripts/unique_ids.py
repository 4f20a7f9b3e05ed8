"""Conversations of several files of one run: no two of them have one id."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import PurePath

from erc.data import Conversation
from erc.transcripts.assembling import utterance_id


class UniqueIds:
    """Gives conversations of later files another id where an earlier file has one of that id.

    The first keeps it, so that one file gives the same ids alone and before others. A later one is put under
    its nearest folder that no other file of that name lies in (`d2/talk`), or numbered where no folder tells
    (`talk-2`): the names given decide, in their order. `files` are those names.
    """

    def __init__(self, files: Sequence[str]) -> None:
        self._files = [PurePath(name) for name in files]
        self._taken: set[str] = set()

    def among(
        self, conversations: Iterable[Conversation], place: int
    ) -> Iterator[tuple[Conversation, str | None]]:
        """The conversations of the file at `place`, each with a note for the first that had to be called otherwise, else None."""
        earlier, told = frozenset(self._taken), False
        for conversation in conversations:
            identifier = conversation.conversation_id
            note = None
            if identifier in earlier:
                conversation = _called(conversation, self._free(identifier, place))
                if not told:
                    note = f"{self._files[place]}: an earlier file has a conversation {identifier!r}: this one is {conversation.conversation_id!r}"
                told = True
            self._taken.add(conversation.conversation_id)
            yield conversation, note

    def _free(self, identifier: str, place: int) -> str:
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


def _called(conversation: Conversation, identifier: str) -> Conversation:
    """The conversation under another id, and with it those of its turns that brought no id of their own."""
    old = conversation.conversation_id
    turns = tuple(
        replace(turn, utterance_id=utterance_id(identifier, turn.index))
        if turn.utterance_id == utterance_id(old, turn.index)
        else turn
        for turn in conversation
    )
    return replace(conversation, conversation_id=identifier, utterances=turns)
