"""A corpus as a speaker memory: what labelling it conversation by conversation, in order of broadcast, would have remembered.

Training reads it the way labelling reads a user's memory, strictly from before each conversation, so the two
build the same prompts. Where a language model is named to write the bios, that holds for a user's memory
whose bios it wrote too (`erc bios write`); labelling itself counts. Emotions in it are those of the shared
classifier; no gold label is ever written down. A filled memory is kept as a file under a digest of all it was
made from, and made again only where one of these has changed.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from erc.data import Conversation
from erc.data.corpora.corpus import chronological
from erc.data.identity import speaker_key
from erc.emotions import EmotionMap
from erc.errors import InputError
from erc.files import keep_first, part_of, private_file, private_folder
from erc.inference.predictor import Predictor
from erc.inference.scorers.bio_vectors import BioVectors
from erc.inference.scorers.caching import CachedScorer
from erc.inference.scorers.llm_model import PromptNotes
from erc.inference.scorers.past_turns import SaidTurns
from erc.llm.prompts.notes import NO_NOTES, ReadTurn, SpeakerNotes
from erc.memory.bios import GROWTH, Note, WriterOf, bio_vector, counted, refresh_bios
from erc.memory.notes import RegistryNotes
from erc.memory.predictor import RememberingPredictor
from erc.models.encoder.precision import resolve_precision
from speakers import DETERMINISTIC, Options, Point, Registry, SpeakerId

_FORMAT = 1
_AUXILIARY = ("-wal", "-shm", "-journal")

Advance = Callable[[int], None]


def corpus_memory(
    folder: Path,
    conversations: Sequence[Conversation],
    scorer: CachedScorer,
    *,
    writer_of: WriterOf = counted,
    writer: str = DETERMINISTIC.name,
    advance: Advance = lambda turns: None,
    note: Note = lambda text: None,
) -> Registry:
    """The memory of a split, from `folder` where it was made before; its file is for its owner alone (0600), and so is a folder that is made here.

    The caller closes it. `writer` names who writes bios (`writer_of`). `advance` hears of the turns taken in,
    `note` of bios that had to be counted because their writer wrote nothing. Raises InputError for ids that
    stand twice, ArtefactError for a folder that cannot be written to.
    """
    ordered = chronological(conversations)
    for identifier, count in Counter(conversation.conversation_id for conversation in ordered).items():
        if count > 1:
            raise InputError(
                f"conversation id {identifier} stands twice, so its turns cannot be told apart: give each conversation an id of its own"
            )
    path = folder / f"speakers-{_digest(ordered, scorer, writer)}.db"
    if not path.exists():
        private_folder(folder)
        part = private_file(part_of(path))
        try:
            with Registry.open(part) as registry:
                fill(registry, ordered, scorer, writer_of=writer_of, advance=advance, note=note)
            keep_first(part, path)
        finally:
            for name in ("", *_AUXILIARY):
                part.with_name(part.name + name).unlink(missing_ok=True)
    return Registry.open(path, options=Options(create=False))


def fill(
    registry: Registry,
    conversations: Sequence[Conversation],
    scorer: CachedScorer,
    *,
    writer_of: WriterOf = counted,
    advance: Advance,
    note: Note = lambda text: None,
) -> None:
    """Takes conversations into a memory in the order given, each after the bios of its speakers are in step."""
    scorer.score_texts(
        [turn.text for conversation in conversations for turn in conversation]
    )  # one by one they would fill no batch
    remembering, unwritten = RememberingPredictor(Predictor(scorer), registry), list[str]()
    for conversation in conversations:
        if len(conversation):
            people = _identities(registry, conversation)
            start = _start(registry, conversation)
            refresh_bios(
                registry,
                people.values(),
                before=start,
                writer_of=writer_of,
                scorer=scorer,
                note=unwritten.append,
            )
            remembering.label(conversation)
            advance(len(conversation))
    if unwritten:
        note(
            f"{len(unwritten)} bios were counted or left as they were, for their writer wrote nothing; the first: {unwritten[0]}"
        )


@dataclass(frozen=True, slots=True)
class CorpusNotes:
    """What the prompts of a corpus may know of its speakers: `TrainingNotes` over memories that `corpus_memory` made.

    `memories` has the memory in which each conversation is looked up, by its id. `shown` is what the recipe's
    prompts show.
    """

    memories: Mapping[str, Registry]
    shown: PromptNotes
    emotions: EmotionMap
    scorer: CachedScorer
    _last: dict[str, RegistryNotes] = field(default_factory=dict)
    """What was read of one conversation at a time."""

    def of(self, conversation: Conversation, index: int) -> SpeakerNotes:
        """The notes for turn `index`, as labelling would show them."""
        if not self.shown.any:
            return NO_NOTES
        stored, turn = self.stored(conversation), conversation.utterances[index]
        own, past = stored.person(turn.speaker), conversation.utterances[:index]
        heard = dict.fromkeys(turn.speaker for turn in past if stored.person(turn.speaker) != own)
        found = stored.notes(
            turn.speaker,
            others=tuple(heard),
            vector=lambda: self.scorer.embed([turn.text])[0],
            before=stored.moment(index),
            retrieval=self.shown.retrieval,
            limit=self.shown.history,
            said=self._said(conversation, index, stored),
        )
        return found if self.shown.bios else SpeakerNotes(history=found.history)

    def _said(self, conversation: Conversation, index: int, stored: RegistryNotes) -> tuple[ReadTurn, ...]:
        """What the speaker of turn `index` has said before it, as far as it can be shown."""
        if not self.shown.past:
            return ()
        said = SaidTurns(self.shown.past)
        past = conversation.utterances[:index]
        read = self.scorer.score_texts([turn.text for turn in past])
        for turn, embedding, probabilities in zip(past, read.embedding, read.probabilities, strict=True):
            said.append(stored.person(turn.speaker), ReadTurn(turn.text, embedding, probabilities))
        return said.of(stored.person(conversation.utterances[index].speaker))

    def stored(self, conversation: Conversation) -> RegistryNotes:
        """What the memory held of the conversation's speakers when it began."""
        if conversation.conversation_id not in self._last:
            registry = self.memories[conversation.conversation_id]
            self._last.clear()
            self._last[conversation.conversation_id] = RegistryNotes(
                registry=registry,
                identities=_identities(registry, conversation),
                start=_start(registry, conversation),
                emotions=self.emotions,
                limit=self.shown.history,
            )
        return self._last[conversation.conversation_id]


def corpus_bios(
    memories: Sequence[tuple[Registry, Sequence[Conversation]]], embed: Callable[[Sequence[str]], np.ndarray]
) -> BioVectors:
    """The bios, as vectors, that each conversation's speakers had when it began; each memory serves its own conversations."""
    found = BioVectors()
    for registry, conversations in memories:
        embed(list(_passages(registry)))  # all at once; one by one they would fill no batch
        for conversation in conversations:
            if not len(conversation):
                continue
            people, start = _identities(registry, conversation), _start(registry, conversation)
            contexts = registry.contexts([(person, start) for person in people.values()], limit=0)
            for name, context in zip(people, contexts, strict=True):
                talk = conversation.conversation_id
                found.add(talk, speaker_key(conversation.corpus, name, talk), bio_vector(context.bio, embed))
    return found


def _passages(registry: Registry) -> Iterator[str]:
    for person in registry.speakers():
        for bio in registry.bio_versions(person.speaker_id):
            yield from (passage.text for passage in bio.passages)


def _identities(registry: Registry, conversation: Conversation) -> dict[str, SpeakerId]:
    """Names as written to people; nobody of a corpus asked to be forgotten."""
    found = registry.resolve_all(conversation.speakers, conversation_id=conversation.conversation_id)
    return {
        name: one.speaker.speaker_id
        for name, one in zip(conversation.speakers, found, strict=True)
        if one.speaker is not None
    }


def _start(registry: Registry, conversation: Conversation) -> Point:
    """Where a conversation begins in the memory's order."""
    return registry.point_for(conversation.conversation_id, 0)


def _digest(conversations: Sequence[Conversation], scorer: CachedScorer, writer: str) -> str:
    turns = [
        [talk.conversation_id, [[turn.utterance_id, turn.speaker, turn.text] for turn in talk]]
        for talk in conversations
    ]
    made = [
        _FORMAT,
        GROWTH,
        writer,
        scorer.artefact.sha256,
        resolve_precision(scorer.settings.precision),
        turns,
    ]
    return hashlib.sha256(json.dumps(made, ensure_ascii=True).encode()).hexdigest()[:24]
