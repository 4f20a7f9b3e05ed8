"""Keeps the bios of a speaker memory in step with it, so that a model that reads bios finds them.

A bio is written before a conversation is read, from what was said before it, and again only once the person has said a quarter more: it
costs little, and it is as old in training as it is when labelling. Both go through here. Labelling only counts: where training had a language
model write the bios, a user's memory has such bios once `erc bios write` was run over it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from erc.errors import ConvemoError
from erc.inference.utterance_scorer import UtteranceScorer
from speakers import DETERMINISTIC, Bio, BioWriter, Embedder, Point, Registry, SpeakerContext, SpeakerId
from speakers.bios import MOST_TURNS

GROWTH = 1.25
"""A bio is written again when there are so many times the turns it rests on."""
WriterOf = Callable[[Registry, SpeakerContext], BioWriter]
"""The writer of a person's next bio."""
Note = Callable[[str], None]
"""Hears of what somebody should be told."""


@dataclass(frozen=True, slots=True)
class PassageVectors:
    """Makes the vectors by which the passages of a long bio are found: those of the classifier that also makes a memory's observations."""

    scorer: UtteranceScorer

    @property
    def embedder(self) -> Embedder:
        """Whose vectors they are."""
        artefact = self.scorer.artefact
        return Embedder(artefact.info.name, artefact.sha256[:16], self.scorer.network.embedding_width)

    def write(self, registry: Registry, speaker: SpeakerId, *, before: Point, writer: BioWriter) -> Bio:
        """Writes a person's next bio, its passages with vectors where the memory holds vectors of this classifier."""
        if registry.embedder != self.embedder:
            return registry.write_bio(speaker, before=before, writer=writer)
        embed = self.scorer.embed
        return registry.write_bio(speaker, before=before, writer=writer, embed=embed, embedder=self.embedder)


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
    vectors: PassageVectors | None = None,
    note: Note = lambda text: None,
) -> tuple[Bio, ...]:
    """Writes the bios of `speakers` that are missing or have fallen behind, from the turns strictly before `before`; returns the new ones.

    A bio that another writer made, such as a language model through `erc bios write`, is never replaced by a counted one. Where the writer
    writes nothing, `note` hears of it, and the bio is counted, or stays as it was if this writer made the last. A counted bio is short enough to
    be shown whole, so `vectors` are made of written ones alone.
    """
    wanted = tuple(dict.fromkeys(speakers))
    made = []
    for speaker, context in zip(wanted, registry.contexts([(one, before) for one in wanted], limit=0), strict=True):
        writer = writer_of(registry, context)
        if not _due(context, writer):
            continue
        try:
            if vectors is None or writer is DETERMINISTIC:
                made.append(registry.write_bio(speaker, before=before, writer=writer))
            else:
                made.append(vectors.write(registry, speaker, before=before, writer=writer))
        except NothingWrittenError as error:
            note(str(error))
            if _due(context, DETERMINISTIC):
                made.append(registry.write_bio(speaker, before=before, writer=DETERMINISTIC))
    return tuple(made)


def _due(context: SpeakerContext, writer: BioWriter) -> bool:
    if not context.utterances:
        return False
    if context.bio is None:
        return True
    if context.bio.writer != writer.name:
        return context.bio.writer == DETERMINISTIC.name
    return min(context.utterances, MOST_TURNS) >= GROWTH * context.bio.utterances
