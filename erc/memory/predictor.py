"""The bridge to the speaker memory: what it knows before a conversation is read, and what it keeps afterwards.

This file alone knows both sides. The memory hears of labels as strings with weights and of vectors with the
name of who made them; the models hear of a `HistoryProvider`, the same Protocol that training reads.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime

import numpy as np

from erc.data import Conversation
from erc.data.identity import speaker_key
from erc.emotions import load_emotion_map
from erc.errors import ConvemoError, InputError
from erc.inference.cascade import CascadePredictor
from erc.inference.chronological_stream import labelled_in_time
from erc.inference.prediction import Prediction
from erc.inference.predictor import Labelled, Predictor
from erc.inference.scorers.bio_vectors import BioVectors
from erc.inference.scorers.emonet import EmoNetScorer
from erc.inference.scorers.history import StoredPast
from erc.inference.scorers.llm import LlmScorer
from erc.inference.scorers.scores import ConversationScorer, Scores
from erc.inference.scorers.utterance import UtteranceScorer
from erc.memory.bios import bio_vector, embedder_of, refresh_bios
from erc.memory.history import StoredHistory
from erc.memory.notes import RegistryNotes
from erc.transcripts.readers.values import moment
from speakers import (
    ConversationLabel,
    Embedder,
    NameMap,
    Observation,
    Point,
    Registry,
    SpeakerContext,
    SpeakerId,
    StoredUncertainty,
)
from speakers.errors import InvalidRecordError
from speakers.names import owners

Warn = Callable[[str], None]
_MOST_PASSAGES = 10_000  # vectors of bios that are kept at a time, about 30 MB


class RememberingPredictor:
    """Labels conversations one after the other with a speaker memory: reads each speaker's past, labels, then keeps the turns.

    A conversation is kept in one transaction, after its predictions are made and before they are given out.
    Labelling the same file again changes nothing in the memory and reads the same past. `names` maps aliases
    to people; `warn` is told of look-alike names. `hold` turns of a stream may be held to label its
    conversations in their order of time.
    """

    def __init__(
        self,
        predictor: Predictor,
        registry: Registry,
        *,
        names: NameMap | None = None,
        warn: Warn = lambda message: None,
        hold: int = 0,
    ) -> None:
        self.predictor = predictor
        self.registry = registry
        self.names = names
        self.warn = warn
        self.hold = hold
        scorer = predictor.scorer
        self._emonet = scorer if isinstance(scorer, EmoNetScorer) else None
        self._in_context = isinstance(scorer, EmoNetScorer | LlmScorer)
        shared = scorer.utterance if isinstance(scorer, EmoNetScorer | LlmScorer) else scorer
        if not isinstance(shared, UtteranceScorer):
            raise ConvemoError(f"{scorer.identity} makes no observations that a speaker memory could keep")
        self._shared = shared
        self._passages: dict[str, np.ndarray] = {}
        self._several: set[str] = set()
        self.embedder = embedder_of(shared)
        known = registry.embedder
        if known is not None and known != self.embedder:
            raise ConvemoError(
                f"the memory {registry.address} holds vectors of {_described(known)}, this model makes those of {_described(self.embedder)}: "
                "use the model it was begun with, or another memory"
            )

    def stream(self, conversations: Iterable[Conversation]) -> Iterator[Labelled]:
        """Labels conversations; a later one reads what an earlier one left, and is given out in its place.

        What is at hand (a list, or up to `hold` turns of a stream) is labelled in its order of time where
        each conversation's first turn has a timestamp; any other stream in its own order.
        """
        hold = math.inf if isinstance(conversations, Sequence) else self.hold
        yield from labelled_in_time(conversations, self.label, began=_began, hold=hold, warn=self.warn)

    def label(self, conversation: Conversation) -> Labelled:
        """Labels one conversation and keeps its turns."""
        if not len(conversation):
            return Labelled(conversation=conversation, predictions=())
        conversation = self._told_apart(conversation)
        if _began(conversation) is None and any(
            seconds(utterance.timestamp) is not None for utterance in conversation
        ):
            self.warn(
                f"{conversation.conversation_id}: its first turn has no timestamp, so it counts as begun now; those of later turns are not asked"
            )
        identities = self._known(conversation)
        scores = self._score(conversation, identities)
        turns = [(conversation.conversation_id, utterance) for utterance in conversation]
        made = self.predictor.predictions(turns, scores)
        if isinstance(self.predictor, CascadePredictor):
            made = self.predictor.refined(
                [conversation],
                made,
                notes=self._notes(self.predictor.second.scorer, conversation, identities),
            )
        predictions = [
            replace(prediction, speaker_id=identities.get(prediction.utterance.speaker))
            for prediction in made
        ]
        observations = self._observations(conversation, identities, scores, predictions)
        if observations:
            self._keep(conversation.conversation_id, observations)
        return Labelled(conversation=conversation, predictions=tuple(predictions))

    def _told_apart(self, conversation: Conversation) -> Conversation:
        """The conversation itself, or under an id of its own where the memory holds other words under its id.

        Two files of one name, or two talks from standard input, are two conversations; the same file again is
        one. A memory that keeps no words cannot tell, and takes the id at its word.
        """
        stored = self.registry.texts(conversation.conversation_id)
        if all(stored.get(utterance.utterance_id) in (None, utterance.text) for utterance in conversation):
            return conversation
        content = "\n".join(f"{utterance.speaker}: {utterance.text}" for utterance in conversation)
        own = f"{conversation.conversation_id}~{hashlib.sha256(content.encode('utf-8', 'replace')).hexdigest()[:8]}"
        self.warn(
            f"the memory holds another conversation '{conversation.conversation_id}': this one is kept as '{own}'"
        )
        return replace(conversation, conversation_id=own)

    def _keep(self, conversation_id: str, observations: Sequence[Observation]) -> None:
        """Records the turns; what the memory refuses is told, and its predictions are given out all the same."""
        try:
            receipt = self.registry.record(conversation_id, observations, embedder=self.embedder)
            for warning in receipt.warnings:
                self.warn(warning)
        except InvalidRecordError as error:
            self.warn(f"{conversation_id}: not kept in the memory: {error}")

    def stored_past(
        self,
        conversation: Conversation,
        identities: Mapping[str, SpeakerId] | None = None,
        *,
        begins: str | None = None,
    ) -> StoredPast:
        """What the memory knows of a conversation's speakers strictly before its first turn.

        Without `identities` the speakers are looked up, new ones are made, and for a model that reads bios
        these are brought in step first. So is, when a live conversation comes to it, everybody who joins
        later: it may begin with no turn at all. That is then at the ISO 8601 moment `begins`, or for None
        now, which is later when the same conversation is gone on with from a file.
        """
        start, talk = self._start(conversation, begins), conversation.conversation_id
        contexts: dict[str, SpeakerContext] = {}
        keys: dict[tuple[str, str], str] = {}
        bios, asked = BioVectors(), set(conversation.speakers)
        limit = self._emonet.history_limit if self._emonet is not None and self._emonet.remembers else 0
        reads_bios = self._emonet is not None and self._emonet.reads.get("bio", "none") != "none"

        def take(people: Mapping[str, SpeakerId]) -> None:
            wanted = [person for person in dict.fromkeys(people.values()) if person not in contexts]
            contexts.update(
                zip(
                    wanted,
                    self.registry.contexts([(person, start) for person in wanted], limit=limit),
                    strict=True,
                )
            )
            keys.update(
                {
                    (talk, speaker_key(conversation.corpus, name, talk)): person
                    for name, person in people.items()
                }
            )
            for person in wanted if reads_bios else ():
                bios.add(talk, person, bio_vector(contexts[person].bio, self._passage_vectors))

        def admit(name: str) -> None:
            if name not in asked:
                asked.add(name)
                take(self._people(conversation, [name], start=start))

        take(
            self._people(conversation, conversation.speakers, start=start)
            if identities is None
            else identities
        )
        return StoredPast(
            StoredHistory(contexts, self._shared.fine_emotions.labels), {talk: start.time}, keys, bios, admit
        )

    def _passage_vectors(self, texts: Sequence[str]) -> np.ndarray:
        """Embeddings (N, P) of passages, kept: a bio is read at every conversation of its person, and seldom changes."""
        fresh = [text for text in dict.fromkeys(texts) if text not in self._passages]
        if fresh:
            if len(self._passages) > _MOST_PASSAGES:
                self._passages.clear()
                fresh = list(dict.fromkeys(texts))
            self._passages.update(zip(fresh, self._shared.embed(fresh), strict=True))
        return np.stack([self._passages[text] for text in texts])

    @property
    def _reads_bios(self) -> bool:
        """Whether the model, or the second of two, is told of bios: then they are kept in step with the memory."""
        second = self.predictor.second.scorer if isinstance(self.predictor, CascadePredictor) else None
        prompted = any(
            isinstance(one, LlmScorer) and one.model.notes.bios for one in (self.predictor.scorer, second)
        )
        return prompted or (self._emonet is not None and self._emonet.reads.get("bio", "none") != "none")

    def stored_notes(self, conversation: Conversation, *, begins: str | None = None) -> RegistryNotes | None:
        """What the prompts of a language model may know of a conversation's speakers; None where it shows nothing of them.

        New speakers are made in the memory, and bios brought in step, as labelling does; those who join a
        live conversation later when it comes to them. `begins` as in `stored_past`.
        """
        scorer = (
            self.predictor.second.scorer
            if isinstance(self.predictor, CascadePredictor)
            else self.predictor.scorer
        )
        found = self._notes(scorer, conversation, self._known(conversation), begins=begins)
        if found is None:
            return None
        return replace(
            found, look_up=lambda name: self._people(conversation, [name], start=found.start).get(name)
        )

    def _score(self, conversation: Conversation, identities: Mapping[str, SpeakerId]) -> Scores:
        scorer = self.predictor.scorer
        if isinstance(scorer, LlmScorer):
            return scorer.score_turns([conversation], notes=self._notes(scorer, conversation, identities))
        if self._emonet is None:
            return scorer.score([conversation])
        return self._emonet.score_after([conversation], self.stored_past(conversation, identities))

    def _notes(
        self,
        scorer: ConversationScorer,
        conversation: Conversation,
        identities: Mapping[str, SpeakerId],
        *,
        begins: str | None = None,
    ) -> RegistryNotes | None:
        """What the prompts of a language model may know of the speakers, strictly before the conversation."""
        if not isinstance(scorer, LlmScorer) or not scorer.model.notes.any:
            return None
        return RegistryNotes(
            registry=self.registry,
            identities=identities,
            start=self._start(conversation, begins),
            emotions=load_emotion_map(self._shared.fine_emotions.name, scorer.model.emotion_set),
            limit=scorer.model.notes.history,
        )

    def _known(self, conversation: Conversation) -> dict[str, SpeakerId]:
        """`_people` of all names in a conversation."""
        return self._people(conversation, conversation.speakers, start=self._start(conversation))

    def _people(
        self, conversation: Conversation, names: Sequence[str], *, start: Point
    ) -> dict[str, SpeakerId]:
        """The person of each name in a conversation, whose bio is brought up to its `start` where a model reads it.

        A person who asked to be forgotten has no id, and nothing is kept of them.
        """
        identities: dict[str, SpeakerId] = {}
        found = self.registry.resolve_all(
            names, conversation_id=conversation.conversation_id, mapping=self.names
        )
        for name, resolution in zip(names, found, strict=True):
            self._tell_several(name, conversation.conversation_id)
            for warning in resolution.warnings:
                self.warn(f"{conversation.conversation_id}: {warning}")
            if resolution.speaker is not None:
                identities[name] = resolution.speaker.speaker_id
        if self._reads_bios:
            refresh_bios(self.registry, identities.values(), before=start)
        return identities

    def _tell_several(self, name: str, conversation_id: str) -> None:
        """Tells once of a name that is taken for those of several people: of a company, say, that would be a mistake."""
        several = owners(name)
        mapped = self.names is not None and self.names.lookup(name, conversation_id) is not None
        if len(several) > 1 and not mapped and name not in self._several:
            self._several.add(name)
            self.warn(
                f"{conversation_id}: {name!r} is read as several people, and what they say together as {several[0]}'s; "
                "if it is one name, map it to itself with --names"
            )

    def _start(self, conversation: Conversation, begins: str | None = None) -> Point:
        """Where a conversation begins in the memory's order; `begins` is read where it has no turn yet."""
        given = seconds(begins)
        if begins is not None and given is None:
            raise InputError(
                f"conversation {conversation.conversation_id}: begins={begins!r} is no ISO 8601 moment such as 2024-05-01T09:30:00Z"
            )
        # Later turns are not asked, though they may have timestamps: what they bring must not change what
        # earlier ones read.
        first = _began(conversation) if len(conversation) else given
        return self.registry.point_for(conversation.conversation_id, 0, first)

    def _observations(
        self,
        conversation: Conversation,
        identities: Mapping[str, SpeakerId],
        scores: Scores,
        predictions: Sequence[Prediction],
    ) -> list[Observation]:
        names = self._shared.fine_emotions.labels
        return [
            Observation(
                speaker=identities[utterance.speaker],
                conversation_id=conversation.conversation_id,
                utterance_id=utterance.utterance_id,
                index=utterance.index,
                text=utterance.text,
                timestamp=seconds(utterance.timestamp),
                weights=dict(zip(names, map(float, scores.fine[row]), strict=True)),
                uncertainty=_uncertainty(scores, row),
                label=ConversationLabel(predictions[row].emotion, predictions[row].confidence)
                if self._in_context
                else None,
                model=predictions[row].model,
                vector=scores.embedding[row].astype(np.float16),
            )
            for row, utterance in enumerate(conversation)
            if utterance.speaker in identities
        ]


def _began(conversation: Conversation) -> float | None:
    """UTC seconds of the first turn; None where that has no timestamp, or there is none."""
    return seconds(conversation.utterances[0].timestamp) if len(conversation) else None


def _described(embedder: Embedder) -> str:
    return f"{embedder.name} (revision {embedder.revision}, width {embedder.width})"


def _uncertainty(scores: Scores, row: int) -> StoredUncertainty | None:
    parts = [
        float(values[row])
        for values in (scores.uncertainty.total, scores.uncertainty.aleatoric, scores.uncertainty.epistemic)
    ]
    return None if np.isnan(parts).any() else StoredUncertainty(*parts)


def seconds(timestamp: str | None) -> float | None:
    """UTC seconds of a moment as transcripts have it; one without a zone is taken as UTC. None for none, and for one that is no moment."""
    found = moment(timestamp)
    if found is None:
        return None
    read = datetime.fromisoformat(found)
    return (read if read.tzinfo is not None else read.replace(tzinfo=UTC)).timestamp()
