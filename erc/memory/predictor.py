"""Labels with a speaker memory: reads each speaker's past, labels, records the turns."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime

import numpy as np

from erc.data import Conversation
from erc.errors import ConvemoError, InputError
from erc.inference.chronological_stream import labelled_in_time
from erc.inference.prediction import Prediction
from erc.inference.predictor import Labelled, Predictor
from erc.inference.scorers.scores import Scores
from erc.memory.bios import embedder_of, refresh_bios
from erc.memory.past import RegistryPast
from erc.transcripts.readers.values import moment
from speakers import (
    ConversationLabel,
    Embedder,
    NameMap,
    Observation,
    Point,
    Registry,
    SpeakerId,
    StoredUncertainty,
)
from speakers.errors import InvalidRecordError
from speakers.names import owners

Warn = Callable[[str], None]


class RememberingPredictor:
    """Labels conversations one by one, each after reading its speakers' past from the memory.

    A conversation is recorded in one transaction, after its predictions are made and before they are
    returned. Labelling the same file again changes nothing in the memory and reads the same past.

    Args:
        predictor: The model.
        registry: The speaker memory.
        names: Aliases of people.
        warn: Called with warnings, such as look-alike names.
        hold: Turns of a stream that may be held to label its conversations in start-time order.

    Raises:
        ConvemoError: The memory holds vectors of another classifier.
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
        self._shared = predictor.scorer.utterance
        self._several: set[str] = set()
        self.embedder = embedder_of(self._shared)
        known = registry.embedder
        if known is not None and known != self.embedder:
            raise ConvemoError(
                f"the memory {registry.address} holds vectors of {_described(known)}, this model makes "
                f"those of {_described(self.embedder)}: use the memory's model, or another memory"
            )

    def stream(self, conversations: Iterable[Conversation]) -> Iterator[Labelled]:
        """Labels in start-time order where first turns have timestamps; yields in input order.

        A list is sorted as a whole, a stream within `hold` turns. A later conversation can read what an
        earlier one recorded.
        """
        hold = math.inf if isinstance(conversations, Sequence) else self.hold
        yield from labelled_in_time(conversations, self.label, began=_began, hold=hold, warn=self.warn)

    def label(self, conversation: Conversation) -> Labelled:
        """Labels one conversation and records its turns."""
        if not len(conversation):
            return Labelled(conversation=conversation, predictions=())
        conversation = self._with_own_id(conversation)
        if _began(conversation) is None and any(
            seconds(utterance.timestamp) is not None for utterance in conversation
        ):
            self.warn(
                f"{conversation.conversation_id}: its first turn has no timestamp, so it counts as begun "
                "now; timestamps of later turns are ignored"
            )
        past = self.past(conversation)
        scores, made = self.predictor.predict([conversation], past=past)
        identities = past.people
        predictions = [
            replace(prediction, speaker_id=identities.get(prediction.utterance.speaker))
            for prediction in made
        ]
        observations = self._observations(conversation, identities, scores, predictions)
        if observations:
            self._keep(conversation.conversation_id, observations)
        return Labelled(conversation=conversation, predictions=tuple(predictions))

    def _with_own_id(self, conversation: Conversation) -> Conversation:
        """The conversation, under another id if the memory holds different text under its id.

        Two files of the same name may be different conversations, and so may two conversations from standard
        input. The same file again is the same conversation. A memory that stores no text compares ids only.
        """
        stored = self.registry.texts(conversation.conversation_id)
        if all(stored.get(utterance.utterance_id) in (None, utterance.text) for utterance in conversation):
            return conversation
        content = "\n".join(f"{utterance.speaker}: {utterance.text}" for utterance in conversation)
        digest = hashlib.sha256(content.encode("utf-8", "replace")).hexdigest()
        own = f"{conversation.conversation_id}~{digest[:8]}"
        self.warn(
            f"the memory holds another conversation '{conversation.conversation_id}': this one is kept as "
            f"'{own}'"
        )
        return replace(conversation, conversation_id=own)

    def _keep(self, conversation_id: str, observations: Sequence[Observation]) -> None:
        """Records the turns; a refusal by the memory becomes a warning."""
        try:
            receipt = self.registry.record(conversation_id, observations, embedder=self.embedder)
            for warning in receipt.warnings:
                self.warn(warning)
        except InvalidRecordError as error:
            self.warn(f"{conversation_id}: not kept in the memory: {error}")

    def past(self, conversation: Conversation, *, begins: str | None = None) -> RegistryPast:
        """The memory's data about a conversation's speakers, strictly before its first turn.

        New speakers are added to the memory. Bios are refreshed if the model reads them.

        Args:
            conversation: The conversation; a live one may have no turn yet, and speakers may join later.
            begins: ISO 8601 time at which a live conversation without turns begins; None means now.

        Raises:
            InputError: `begins` is not a time.
        """
        start, identifier = self._start(conversation, begins), conversation.conversation_id
        return RegistryPast(
            self.registry,
            start,
            conversation.speakers,
            look_up=lambda names: self._people(identifier, names, start=start),
            labels=self._shared.fine_emotions.labels,
            limit=self.predictor.past_read.turns,
        )

    def _people(self, conversation_id: str, names: Sequence[str], *, start: Point) -> dict[str, SpeakerId]:
        """The person of each name. Refreshes bios up to `start` if the model reads them.

        A person who asked to be forgotten has no id, and nothing is recorded about them.
        """
        identities: dict[str, SpeakerId] = {}
        found = self.registry.resolve_all(names, conversation_id=conversation_id, mapping=self.names)
        for name, resolution in zip(names, found, strict=True):
            self._warn_of_several(name, conversation_id)
            for warning in resolution.warnings:
                self.warn(f"{conversation_id}: {warning}")
            if resolution.speaker is not None:
                identities[name] = resolution.speaker.speaker_id
        if self.predictor.past_read.bios:
            refresh_bios(self.registry, identities.values(), before=start, classifier=self._shared)
        return identities

    def _warn_of_several(self, name: str, conversation_id: str) -> None:
        """Warns once if a name is read as several people; it may be one name, such as a company's."""
        several = owners(name)
        mapped = self.names is not None and self.names.lookup(name, conversation_id) is not None
        if len(several) > 1 and not mapped and name not in self._several:
            self._several.add(name)
            self.warn(
                f"{conversation_id}: {name!r} is read as several people, and their turns as "
                f"{several[0]}'s; if it is one name, map it to itself with --names"
            )

    def _start(self, conversation: Conversation, begins: str | None = None) -> Point:
        """Start of a conversation in the memory's order; `begins` applies only without turns."""
        given = seconds(begins)
        if begins is not None and given is None:
            raise InputError(
                f"conversation {conversation.conversation_id}: begins={begins!r} is not an ISO 8601 time "
                "such as 2024-05-01T09:30:00Z"
            )
        # Timestamps of later turns are ignored: they must not change what earlier turns read.
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
                if self.predictor.scorer.in_context
                else None,
                model=predictions[row].model,
                vector=scores.embedding[row].astype(np.float16),
            )
            for row, utterance in enumerate(conversation)
            if utterance.speaker in identities
        ]


def _began(conversation: Conversation) -> float | None:
    """UTC seconds of the first turn; None if it has no timestamp or there is no turn."""
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
    """UTC seconds of a transcript's timestamp; None if it is missing or invalid. No zone means UTC."""
    found = moment(timestamp)
    if found is None:
        return None
    read = datetime.fromisoformat(found)
    return (read if read.tzinfo is not None else read.replace(tzinfo=UTC)).timestamp()
