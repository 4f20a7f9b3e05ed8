"""TODO."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from erc.data import Conversation, HistoryProvider, Moment, PastUtterance, SpeakerHistory
from erc.data.chronology import InMemoryHistory, MemoryScope, sequence_numbers
from erc.data.corpora.corpus import chronological
from erc.data.identity import key_of
from erc.inference.scorers.bio_vectors import BioVectors
from erc.inference.scorers.utterance import UtteranceScores
from erc.models.turn_batch import PreparedTurn
from erc.models.turn_builder import own_key


@dataclass(frozen=True, slots=True)
class StoredPast:
    """What a speaker memory knows before some conversations: a provider, and each conversation's place in its order by id.

    Within a conversation, too, names that the memory resolves to one person count as one speaker.
    """

    provider: HistoryProvider
    times: Mapping[str, float]
    keys: Mapping[tuple[str, str], str]
    """(conversation id, key of a speaker) -> the person, by whom the provider files what it knows, and `bios` too."""
    bios: BioVectors | None = None
    """What the memory says of the speakers as vectors; read by a model that attends to bios."""
    admit: Callable[[str], None] = lambda name: None
    """Looks somebody up who joins a live conversation, as of its beginning; a name that is known already changes nothing."""

    def person(self, conversation_id: str, key: str) -> str:
        """The person a speaker's key stands for; the key itself where the memory knows nobody."""
        return self.keys.get((conversation_id, key), key)

    def preceding(self, recent: SpeakerHistory, person: str, *, before: Moment, limit: int) -> SpeakerHistory:
        """`recent` turns of a conversation's speaker with what the memory holds from before that conversation in front, `limit` in all."""
        start = Moment(before.time, before.conversation_id, 0)
        older = self.provider.history(person, before=start, limit=max(0, limit - len(recent.turns)))
        return SpeakerHistory(
            (*older.turns, *recent.turns),
            older.utterances + recent.utterances,
            older.conversations + recent.conversations,
        )


class ConversationPast:
    """The history a pass reads: the conversations' own turns, those of others too in scope `global`, after whatever a speaker memory holds."""

    def __init__(
        self,
        conversations: Sequence[Conversation],
        turns: UtteranceScores,
        *,
        stored: StoredPast | None,
        remembers: bool,
        scope: MemoryScope,
    ) -> None:
        self.stored = stored if remembers else None
        self.conversations = conversations
        times, person = (None, own_key) if stored is None else (stored.times, stored.person)
        ordered = chronological(conversations) if scope == "global" else conversations
        self.times = sequence_numbers(ordered) if times is None else times
        self.read = InMemoryHistory(scope=scope)
        row = 0
        for conversation in conversations:
            for utterance in conversation:
                past = PastUtterance(
                    moment=Moment(
                        self.times[conversation.conversation_id],
                        conversation.conversation_id,
                        utterance.index,
                    ),
                    embedding=turns.embedding[row].astype(np.float16),
                    probabilities=turns.probabilities[row].astype(np.float32),
                    text=utterance.text,
                )
                self.read.add(person(conversation.conversation_id, key_of(conversation, utterance)), past)
                row += 1

    def history(self, speaker: str, *, before: Moment, limit: int) -> SpeakerHistory:
        """What was said before: in the conversations read, else in the memory."""
        recent = self.read.history(speaker, before=before, limit=limit)
        return (
            recent
            if self.stored is None
            else self.stored.preceding(recent, speaker, before=before, limit=limit)
        )

    def counts(self, prepared: Sequence[Sequence[PreparedTurn]], limit: int) -> np.ndarray:
        """(U, 2): how many past turns of the speaker each prediction could rest on, and of how many conversations."""
        found = [
            self.history(turn.speaker, before=turn.moment, limit=0) for turns in prepared for turn in turns
        ]
        return np.array([(one.utterances, one.conversations) for one in found], dtype=np.int64).reshape(
            -1, 2
        ) * (limit > 0)
