"""Writes a bio of a speaker from a snapshot of their turns and stores it if the turns are still theirs."""

from __future__ import annotations

from speakers import bios, history, identity
from speakers.bios import BioWriter, Embed
from speakers.errors import InvalidRecordError
from speakers.records import Bio, Embedder, Point, SpeakerId
from speakers.session import Session
from speakers.store.codec import observations
from speakers.tenant import epoch_of


def write_bio(
    session: Session,
    speaker: SpeakerId,
    *,
    before: Point,
    writer: BioWriter,
    embed: Embed | None,
    embedder: Embedder | None,
) -> Bio:
    """Write the next version of a bio; see `Registry.write_bio`.

    The writer runs outside any transaction, because a language model takes long. If turns were erased or
    moved to another speaker meanwhile, the bio is discarded and written again.

    Raises:
        UnknownSpeakerError: there is no such id, or the person was forgotten during the call.
        InvalidRecordError: `embed` or `embedder` is missing, the vectors are invalid, or the memory stores no
            words and the writer is not the deterministic one.
        EmbedderMismatchError: the tenant stores vectors of another embedder.
    """
    if (embed is None) != (embedder is None):
        raise InvalidRecordError("embed and embedder must be given together: the callable and its model")
    tenant = session.tenant
    if not tenant.keeps_text and writer is not bios.DETERMINISTIC:
        raise InvalidRecordError("this memory stores no words, so only the deterministic writer may be used")
    while True:
        with session.read() as connection:
            row = identity.find_by_id(connection, tenant, speaker)
            state = (row.speaker, row.basis, epoch_of(connection, tenant))
            past = history.last_rows(connection, row.speaker, before, bios.MOST_TURNS)
            turns = observations(
                connection,
                past,
                speaker=SpeakerId(row.speaker_id),
                vocabulary=session.vocabulary,
                width=None,
            )
        passages = bios.embedded(writer.write(turns), embed)
        with session.write() as connection:
            row = identity.find_by_id(connection, tenant, speaker)
            if (row.speaker, row.basis, epoch_of(connection, tenant)) == state:
                return bios.store(
                    connection,
                    tenant,
                    row,
                    before=before,
                    turns=turns,
                    writer=writer,
                    passages=passages,
                    embedder=embedder,
                )
