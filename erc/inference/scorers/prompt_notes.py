"""What a prompt shows of the speakers: bios of all, and past turns of the target's speaker.

Labelling, evaluation and training build these notes here, from a `SpeakerPast`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from erc.data import Moment, PastUtterance, SpeakerPast
from erc.emotions import EmotionMap
from erc.inference.scorers.llm_model import PromptNotes
from erc.inference.scorers.past_turns import chosen_turns, entries
from erc.llm.prompts.notes import NO_NOTES, ReadTurn, SpeakerBio, SpeakerNotes, Vector

MOST_PASSAGES = 8
"""Passages of a bio that a prompt shows."""


@dataclass(frozen=True, slots=True)
class ConversationSpeakers:
    """The speakers of one conversation, for its prompts; `past` None means no memory."""

    conversation_id: str
    past: SpeakerPast | None = None

    def person(self, name: str) -> str:
        """A key shared by all names of one person; the name itself for an unknown speaker."""
        return self._known(name) or name

    def counts(self, name: str) -> tuple[int, int]:
        """Remembered utterances and conversations of a speaker."""
        person = self._known(name)
        if self.past is None or person is None:
            return 0, 0
        found = self.past.history(person, before=self._moment(0), limit=0)
        return found.utterances, found.conversations

    def notes(
        self,
        speaker: str,
        *,
        index: int,
        heard: Sequence[str],
        said: Sequence[ReadTurn],
        vector: Vector,
        shown: PromptNotes,
        emotions: EmotionMap,
    ) -> SpeakerNotes:
        """The notes for turn `index` by `speaker`, given the speakers `heard` and the speaker's turns `said`.

        Past turns follow the rule of `chosen_turns`; `vector` computes the turn's embedding. `emotions` maps
        the stored fine emotions of past turns to the labels of the prompt. A remembered turn's emotion comes
        from its text only. A conversation model's prediction is never read back, so its errors do not
        accumulate.
        """
        if self.past is not None and not shown.any:
            return NO_NOTES
        turns = self._turns(speaker, index, said, vector, shown)
        bios = self._bios((speaker, *heard)) if shown.bios else ()
        return SpeakerNotes(bios=bios, history=entries(turns, emotions))

    def _turns(
        self, speaker: str, index: int, said: Sequence[ReadTurn], vector: Vector, shown: PromptNotes
    ) -> list[ReadTurn]:
        if shown.past == 0:
            return []
        remembered: list[ReadTurn] = []
        near: dict[int, float] = {}
        person = self._known(speaker)
        if self.past is not None and person is not None:
            before, limit = self._moment(index), shown.history
            late = self.past.history(person, before=before, limit=limit)
            found = {turn.moment: turn for turn in late.turns}
            similar = {}
            if late.utterances and shown.retrieval != "recency":
                for hit in self.past.similar(person, vector(), before=before, limit=limit):
                    found.setdefault(hit.turn.moment, hit.turn)
                    similar[hit.turn.moment] = hit.similarity
            ordered = sorted(found)
            remembered = [_read(found[moment]) for moment in ordered]
            near = {ordered.index(moment): similarity for moment, similarity in similar.items()}
        return chosen_turns(
            remembered, said, near=near, vector=vector, retrieval=shown.retrieval, limit=shown.history
        )

    def _bios(self, names: Sequence[str]) -> tuple[SpeakerBio, ...]:
        """Bios in the same order for all turns, so a backend reads the prompt's prefix once."""
        if self.past is None:
            return ()
        first_names: dict[str, str] = {}
        for name in names:
            person = self._known(name)
            if person is not None:
                first_names.setdefault(person, name)
        bios = []
        for person, name in first_names.items():
            bio = self.past.bio(person, before=self._moment(0), limit=MOST_PASSAGES)
            if bio is not None:
                bios.append(SpeakerBio(name, bio.passages, version=bio.version))
        return tuple(sorted(bios, key=lambda bio: bio.name))

    def _known(self, name: str) -> str | None:
        return None if self.past is None else self.past.person(self.conversation_id, name)

    def _moment(self, index: int) -> Moment:
        assert self.past is not None
        return Moment(self.past.time(self.conversation_id), self.conversation_id, index)


def _read(turn: PastUtterance) -> ReadTurn:
    return ReadTurn(turn.text, turn.embedding, turn.probabilities)
