"""Methods of a `Registry` about turns: recording them, and reading the past of a speaker."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from speakers import bio_writing, bios, history, identity, recording
from speakers.bios import DETERMINISTIC, BioWriter, Embed
from speakers.errors import InvalidRecordError
from speakers.records import Bio, Embedder, Observation, Point, Recall, Receipt, SpeakerContext, SpeakerId
from speakers.registry.part import RegistryPart


class TurnMethods(RegistryPart):
    """Records conversations and reads contexts, similar turns and bios."""

    # Recording

    def point_for(self, conversation_id: str, index: int, timestamp: float | None = None) -> Point:
        """The point of a turn, or the one it would get if its conversation were recorded now."""
        return self.points_for(conversation_id, [(index, timestamp)])[0]

    def points_for(
        self, conversation_id: str, turns: Sequence[tuple[int, float | None]]
    ) -> tuple[Point, ...]:
        """As `point_for`, for turns (index, timestamp or None) by ascending index.

        `record` assigns the same points.
        """
        with self._session.read() as connection:
            now = self._session.clock()
            return recording.points(connection, self.tenant, conversation_id, turns, now=now)

    def record(
        self, conversation_id: str, observations: Sequence[Observation], *, embedder: Embedder | None = None
    ) -> Receipt:
        """Store the turns of a conversation in one transaction, durable once this returns.

        Turns that are stored already stay unchanged. `embedder` is needed if there are vectors. Expired data
        is erased first, except the speakers of these turns. If its files cannot be cleaned yet, the turns are
        stored and the receipt has a warning.

        Raises:
            InvalidRecordError: a turn is of another conversation, repeated, or at the place of another turn.
            UnknownSpeakerError: a speaker id is unknown.
            EmbedderMismatchError: a vector does not fit the tenant's embedder.
        """
        session = self._session
        self._eraser.spare(one.speaker for one in observations)
        self._eraser.expire_if_due()
        with session.write(lock=False) as connection:  # `recording.record` locks
            receipt = recording.record(
                connection,
                session.tenant,
                conversation_id,
                observations,
                embedder=embedder,
                vocabulary=session.vocabulary,
                now=session.clock(),
            )
        return replace(receipt, warnings=self._eraser.take_warnings())

    def texts(self, conversation_id: str) -> dict[str, str | None]:
        """The stored words of a conversation by utterance id; None where words are not stored."""
        with self._session.read() as connection:
            return recording.texts(connection, self.tenant, conversation_id)

    def correct(self, conversation_id: str, utterance_id: str, emotion: str | None) -> None:
        """Store a person's correction of a turn; None removes it. The labels of the models stay.

        Raises:
            InvalidRecordError: the turn is not stored, or the emotion is empty or cannot be stored.
        """
        with self._session.write() as connection:
            recording.correct(connection, self.tenant, conversation_id, utterance_id, emotion)

    # Reading

    def context(self, speaker: SpeakerId, *, before: Point, limit: int = 12) -> SpeakerContext:
        """The speaker's last turns, summary, counts and bio, all strictly before a point.

        Raises:
            UnknownSpeakerError: there is no such id.
            InvalidRecordError: `limit` is negative.
        """
        return self.contexts([(speaker, before)], limit=limit)[0]

    def contexts(
        self, wanted: Sequence[tuple[SpeakerId, Point]], *, limit: int = 12
    ) -> tuple[SpeakerContext, ...]:
        """The contexts of (speaker, before) pairs in the given order, read from one snapshot.

        Raises:
            UnknownSpeakerError: an id is unknown.
            InvalidRecordError: `limit` is negative.
        """
        if limit < 0:
            raise InvalidRecordError(f"limit={limit}: must be at least 0")
        with self._session.read() as connection:
            width = self._session.vector_width(connection)
            ids = dict.fromkeys(speaker for speaker, _ in wanted)
            rows = {speaker: identity.find_by_id(connection, self.tenant, speaker) for speaker in ids}
            return tuple(
                history.context(
                    connection,
                    self._session.vocabulary,
                    speaker=rows[speaker].speaker,
                    speaker_id=SpeakerId(rows[speaker].speaker_id),
                    before=before,
                    limit=limit,
                    rule=self._summary,
                    width=width,
                    bio=bios.current(connection, rows[speaker], before=before, width=width),
                )
                for speaker, before in wanted
            )

    def recall(self, vector: np.ndarray, *, speaker: SpeakerId | None, before: Point, k: int) -> Recall:
        """The k past observations and bio passages nearest to a vector, strictly before a point.

        The result equals that of an exact scan of the rows, ties included.

        Args:
            vector: the query, shape (width,).
            speaker: whose past to search; None searches the observations of all speakers.
            before: the point.
            k: how many observations, and how many passages, at most.

        Raises:
            UnknownSpeakerError: there is no such id.
            EmbedderMismatchError: the vector has another width than the stored ones, or is not finite.
        """
        with self._session.read() as connection:
            row = None if speaker is None else identity.find_by_id(connection, self.tenant, speaker)
            return self._session.search.recall(connection, vector, speaker=row, before=before, k=k)

    def write_bio(
        self,
        speaker: SpeakerId,
        *,
        before: Point,
        writer: BioWriter = DETERMINISTIC,
        embed: Embed | None = None,
        embedder: Embedder | None = None,
    ) -> Bio:
        """Write the next version of a speaker's bio from the turns strictly before a point.

        `embed` makes vectors of the passages; `embedder` names its model.

        Raises:
            UnknownSpeakerError: there is no such id, or the person was forgotten during the call.
            InvalidRecordError: `embed` or `embedder` is missing, or the vectors are invalid; or the memory
                stores no words and the writer is not the deterministic one.
            EmbedderMismatchError: the tenant stores vectors of another embedder.
        """
        return bio_writing.write_bio(
            self._session, speaker, before=before, writer=writer, embed=embed, embedder=embedder
        )

    def bio_versions(self, speaker: SpeakerId) -> tuple[Bio, ...]:
        """Every version of a speaker's bio, oldest first.

        Raises:
            UnknownSpeakerError: there is no such speaker.
        """
        with self._session.read() as connection:
            row = self._row(connection, speaker)
            return tuple(bio for bio, _ in bios.versions(connection, row, width=None))

    def rebuild(self) -> int:
        """Build the vector index again from the rows and cache it; returns its number of vectors."""
        search = self._session.search
        with self._session.read() as connection:
            count = search.rebuild(connection)
        search.save()
        return count
