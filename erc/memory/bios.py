"""Keeps the bios of a speaker memory in step with it, so that a model that reads bios finds them.

A bio is written before a conversation is read, from what was said before it, and again only once the person
has said a quarter more: it costs little, and it is as old in training as it is when labelling. Both go
through here. Labelling only counts: where training had a language model write the bios, a user's memory has
such bios once `erc bios write` was run over it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from erc.errors import ConvemoError
from erc.inference.scorers.scores import SharedClassifier
from speakers import DETERMINISTIC, Bio, BioWriter, Embedder, Point, Registry, SpeakerContext, SpeakerId
from speakers.bios import MOST_TURNS

GROWTH = 1.25
"""A bio is written again when there are so many times the turns it rests on."""
WriterOf = Callable[[Registry, SpeakerContext], BioWriter]
"""The writer of a person's next bio."""
Note = Callable[[str], None]
"""Hears of what somebody should be told."""


class NothingWrittenError(ConvemoError):
    """A language model that was to write a bio wrote nothing."""


def counted(registry: Registry, context: SpeakerContext) -> BioWriter:
    """The writer without a language model: topics, moods and triggers with their counts."""
    return DETERMINISTIC


def refresh_bios(
    registry: Registry,
    speakers: Iterable[SpeakerId],
    *,
    before: Point,
    writer_of: WriterOf = counted,
    classifier: SharedClassifier | None = None,
    note: Note = lambda text: None,
) -> tuple[Bio, ...]:
    """Writes the bios of `speakers` that are missing or have fallen behind, from the turns strictly before `before`; returns the new ones.

    A bio that another writer made, such as a language model through `erc bios write`, is never replaced by a
    counted one. Where the writer writes nothing, `note` hears of it, and the bio is counted, or stays as it
    was if this writer made the last. `classifier` as in `write_bio`.
    """
    wanted = tuple(dict.fromkeys(speakers))
    made = []
    for speaker, context in zip(
        wanted, registry.contexts([(one, before) for one in wanted], limit=0), strict=True
    ):
        writer = writer_of(registry, context)
        if not _due(registry, context, writer):
            continue
        try:
            made.append(write_bio(registry, speaker, before=before, writer=writer, classifier=classifier))
        except NothingWrittenError as error:
            note(str(error))
            if _due(registry, context, DETERMINISTIC):
                made.append(
                    write_bio(registry, speaker, before=before, writer=DETERMINISTIC, classifier=classifier)
                )
    return tuple(made)


def write_bio(
    registry: Registry,
    speaker: SpeakerId,
    *,
    before: Point,
    writer: BioWriter,
    classifier: SharedClassifier | None = None,
) -> Bio:
    """Writes a person's next bio.

    Its passages get vectors where the memory holds vectors of `classifier`: prompts retrieve passages by them.
    """
    if classifier is None or registry.embedder != embedder_of(classifier):
        return registry.write_bio(speaker, before=before, writer=writer)
    return registry.write_bio(
        speaker, before=before, writer=writer, embed=classifier.embed, embedder=embedder_of(classifier)
    )


def embedder_of(classifier: SharedClassifier) -> Embedder:
    """Identifies the vectors that a memory keeps of this classifier."""
    return Embedder(classifier.name, classifier.revision, classifier.width)


def _due(registry: Registry, context: SpeakerContext, writer: BioWriter) -> bool:
    bio = context.bio
    if bio is None or not context.utterances:
        return context.utterances > 0
    if bio.writer != writer.name:
        return bio.writer == DETERMINISTIC.name
    # A bio rests on the last turns only, so beyond their number it does not say how many there were.
    behind = (
        bio.utterances
        if bio.utterances < MOST_TURNS
        else registry.context(context.speaker, before=bio.before, limit=0).utterances
    )
    return context.utterances >= GROWTH * behind
