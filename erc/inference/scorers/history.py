"""A speaker's past within one scoring pass: remembered turns, then turns of the conversations read.

Shapes: U turns, P embedding width.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from erc.data import Conversation, HistoryProvider, Moment, SpeakerHistory, SpeakerPast
from erc.data.chronology import InMemoryHistory, MemoryScope, observed_turns, sequence_numbers
from erc.data.corpora.corpus import chronological
from erc.data.identity import key_of, speaker_key
from erc.inference.scorers.bio_vectors import BioVectors, Embed, bio_vector
from erc.inference.scorers.utterance import UtteranceScores
from erc.models.turn_batch import PreparedTurn


class Speakers:
    """The speakers of the conversations being read: their identities in a memory, and their bios as vectors.

    Names that the memory resolves to one person share one key. Without a memory each name is its own key.
    `embed` is given if the model reads bios.
    """

    def __init__(self, past: SpeakerPast | None, *, embed: Embed | None = None) -> None:
        self.past = past
        self.bios = None if embed is None or past is None else BioVectors()
        self._embed = embed
        self._keys: dict[tuple[str, str], str] = {}

    def meet(self, conversation_id: str, *, corpus: str | None, name: str, time: float) -> str:
        """The key of a speaker; the first call looks the speaker up in the memory."""
        key = speaker_key(corpus, name, conversation_id)
        if self.past is None:
            return key
        place = conversation_id, key
        if place not in self._keys:
            person = self.past.person(conversation_id, name)
            self._keys[place] = key if person is None else person
            if person is not None and self.bios is not None and self._embed is not None:
                bio = self.past.bio(person, before=Moment(time, conversation_id, 0))
                self.bios.add(conversation_id, person, bio_vector(bio, self._embed))
        return self._keys[place]

    def person(self, conversation_id: str, key: str) -> str:
        """The key shared by all names of a person, from a name's own key."""
        return self._keys.get((conversation_id, key), key)


def preceded(
    recent: SpeakerHistory, past: HistoryProvider | None, person: str, *, before: Moment, limit: int
) -> SpeakerHistory:
    """Turns that `past` remembers, then the `recent` ones of a conversation, at most `limit` in all."""
    if past is None:
        return recent
    start = Moment(before.time, before.conversation_id, 0)
    older = past.history(person, before=start, limit=max(0, limit - len(recent.turns)))
    return SpeakerHistory(
        (*older.turns, *recent.turns),
        older.utterances + recent.utterances,
        older.conversations + recent.conversations,
    )


class ConversationPast:
    """The history of one pass: turns of the conversations read, preceded by remembered ones.

    With scope `global`, a speaker's turns in earlier conversations of the pass count too. Remembered turns
    come from `past`; without it, only the conversations themselves are read.
    """

    def __init__(
        self,
        conversations: Sequence[Conversation],
        turns: UtteranceScores,
        *,
        speakers: Speakers,
        remembers: bool,
        scope: MemoryScope,
    ) -> None:
        self._past = speakers.past if remembers else None
        self.times = _times(conversations, speakers.past, scope)
        for conversation in conversations:
            identifier, time = conversation.conversation_id, self.times[conversation.conversation_id]
            for name in conversation.speakers:
                speakers.meet(identifier, corpus=conversation.corpus, name=name, time=time)
        observed = observed_turns(
            conversations, self.times, embeddings=turns.embedding, probabilities=turns.probabilities
        )
        self._read = InMemoryHistory(
            (
                (speakers.person(conversation.conversation_id, key_of(conversation, utterance)), turn)
                for conversation, utterance, turn in observed
            ),
            scope=scope,
        )

    def history(self, speaker: str, *, before: Moment, limit: int) -> SpeakerHistory:
        """At most `limit` turns of a speaker strictly before `before`, oldest first."""
        recent = self._read.history(speaker, before=before, limit=limit)
        return preceded(recent, self._past, speaker, before=before, limit=limit)

    def counts(self, prepared: Sequence[Sequence[PreparedTurn]]) -> np.ndarray:
        """(U, 2): past turns of the speaker that each prediction could read, and their conversations."""
        found = [
            self.history(turn.speaker, before=turn.moment, limit=0) for turns in prepared for turn in turns
        ]
        counts = [(one.utterances, one.conversations) for one in found]
        return np.array(counts, dtype=np.int64).reshape(-1, 2)


def _times(
    conversations: Sequence[Conversation], past: SpeakerPast | None, scope: MemoryScope
) -> dict[str, float]:
    if past is not None:
        return {one.conversation_id: past.time(one.conversation_id) for one in conversations}
    return sequence_numbers(chronological(conversations) if scope == "global" else conversations)
