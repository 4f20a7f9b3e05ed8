"""Keeps the bios of a speaker memory up to date for models that read bios.

A bio is written before a conversation is read, from earlier turns only. It is written again when the number
of turns has grown by a quarter. Training and labelling share this code, so bios have the same age in both.
Labelling writes bios from counts; `erc bios write` uses a language model.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from erc.errors import ConvemoError
from erc.inference.scorers.scores import SharedClassifier
from speakers import DETERMINISTIC, Bio, BioWriter, Embedder, Point, Registry, SpeakerContext, SpeakerId
from speakers.bios import MOST_TURNS

GROWTH = 1.25
"""A bio is written again when the number of the person's turns has grown by this factor."""
WriterOf = Callable[[Registry, SpeakerContext], BioWriter]
"""Returns the writer of a person's next bio."""
Note = Callable[[str], None]
"""Receives messages for the user."""


class NothingWrittenError(ConvemoError):
    """A language model wrote nothing where a bio was expected."""


def counted(registry: Registry, context: SpeakerContext) -> BioWriter:
    """The writer that uses counts of words and emotions instead of a language model."""
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
    """Writes the bios of `speakers` that are missing or outdated; returns the new ones.

    They use only turns strictly before `before`. A bio by another writer, such as a language model, is never
    replaced by a counted one. If the writer writes nothing, `note` is called. The bio is then written from
    counts, or kept if this writer wrote the last one. `classifier` is as in `write_bio`.
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

    Its passages get vectors if the memory holds vectors of `classifier`; prompts retrieve passages by them.
    """
    if classifier is None or registry.embedder != embedder_of(classifier):
        return registry.write_bio(speaker, before=before, writer=writer)
    return registry.write_bio(
        speaker, before=before, writer=writer, embed=classifier.embed, embedder=embedder_of(classifier)
    )


def embedder_of(classifier: SharedClassifier) -> Embedder:
    """Identifies the classifier as the source of a memory's vectors."""
    return Embedder(classifier.name, classifier.revision, classifier.width)


def _due(registry: Registry, context: SpeakerContext, writer: BioWriter) -> bool:
    bio = context.bio
    if bio is None or not context.utterances:
        return context.utterances > 0
    if bio.writer != writer.name:
        return bio.writer == DETERMINISTIC.name
    # A bio reads only the last `MOST_TURNS` turns, so its count may be lower than the number of all turns.
    behind = (
        bio.utterances
        if bio.utterances < MOST_TURNS
        else registry.context(context.speaker, before=bio.before, limit=0).utterances
    )
    return context.utterances >= GROWTH * behind
