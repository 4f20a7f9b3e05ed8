"""Speaker memories of corpora, as labelling the corpus in broadcast order would record them.

Training reads them as labelling reads a user's memory: strictly before each conversation. Both therefore
build the same prompts. Emotions in them come from the shared classifier, never from gold labels. A memory is
cached in a file whose name is a digest of all its inputs.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from erc.data import Conversation, Moment, PastBio, SimilarUtterance, SpeakerHistory, Utterance
from erc.data.chronology import sequence_numbers
from erc.data.corpora.corpus import chronological
from erc.data.identity import speaker_key
from erc.emotions import EmotionMap
from erc.errors import InputError
from erc.files import keep_first, part_of, private_file, private_folder
from erc.inference.predictor import Predictor
from erc.inference.scorers.bio_vectors import BioVectors, CachedEmbedding, Embed
from erc.inference.scorers.caching import CachedScorer
from erc.inference.scorers.history import Speakers
from erc.inference.scorers.llm_model import PromptNotes
from erc.inference.scorers.past_turns import SaidTurns
from erc.inference.scorers.prompt_notes import ConversationSpeakers
from erc.llm.prompts.notes import NO_NOTES, ReadTurn, SpeakerNotes
from erc.memory.bios import GROWTH, Note, WriterOf, counted, refresh_bios
from erc.memory.past import CorpusPast, people
from erc.memory.predictor import RememberingPredictor
from erc.models.encoder.precision import resolve_precision
from speakers import DETERMINISTIC, Options, Registry

_FORMAT = 2
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
    """The memory of a split, read from `folder` if it was made before. The caller closes it.

    The file has mode 0600, a new folder 0700.

    Args:
        folder: Cache of memories.
        conversations: The split.
        scorer: The shared classifier.
        writer_of: Writes the bios.
        writer: Names the writer, for the digest.
        advance: Called with the number of turns recorded.
        note: Called if bios were written from counts because their writer wrote nothing.

    Raises:
        InputError: Two conversations have the same id.
        ArtefactError: The folder cannot be written to.
    """
    ordered = chronological(conversations)
    for identifier, count in Counter(conversation.conversation_id for conversation in ordered).items():
        if count > 1:
            raise InputError(
                f"conversation id {identifier} is not unique, so its turns are ambiguous: give each "
                "conversation its own id"
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
    """Records conversations in the order given, each after refreshing its speakers' bios."""
    scorer.score_texts(
        [turn.text for conversation in conversations for turn in conversation]
    )  # full batches, which single texts would not fill
    remembering, unwritten = RememberingPredictor(Predictor(scorer), registry), list[str]()
    for conversation in conversations:
        if len(conversation):
            found = people(registry, conversation.conversation_id, conversation.speakers)
            refresh_bios(
                registry,
                found.values(),
                before=registry.point_for(conversation.conversation_id, 0),
                writer_of=writer_of,
                classifier=scorer,
                note=unwritten.append,
            )
            remembering.label(conversation)
            advance(len(conversation))
    if unwritten:
        note(
            f"{len(unwritten)} bios were written from counts or kept, because their writer wrote nothing; "
            f"the first: {unwritten[0]}"
        )


class CorpusNotes:
    """The notes on a corpus's speakers in training prompts: `TrainingNotes` over `past`.

    Args:
        past: The pasts of the conversations, in the memories that `corpus_memory` made.
        shown: The notes that the recipe's prompts show.
        emotions: Maps the fine emotions to the labels of the prompts.
        scorer: Scores turns and caches the results.
    """

    def __init__(
        self, past: CorpusPast, *, shown: PromptNotes, emotions: EmotionMap, scorer: CachedScorer
    ) -> None:
        self.past = past
        self.shown = shown
        self.emotions = emotions
        self.scorer = scorer

    def of(self, conversation: Conversation, index: int) -> SpeakerNotes:
        """The notes for turn `index`, as labelling would show them."""
        if not self.shown.any:
            return NO_NOTES
        speakers = ConversationSpeakers(conversation.conversation_id, self.past)
        turn, before = conversation.utterances[index], conversation.utterances[:index]
        own = speakers.person(turn.speaker)
        heard = dict.fromkeys(one.speaker for one in before if speakers.person(one.speaker) != own)
        return speakers.notes(
            turn.speaker,
            index=index,
            heard=tuple(heard),
            said=self._said(before, speakers).of(own),
            vector=lambda: self.scorer.embed([turn.text])[0],
            shown=self.shown,
            emotions=self.emotions,
        )

    def _said(self, turns: Sequence[Utterance], speakers: ConversationSpeakers) -> SaidTurns:
        """The earlier turns of the conversation, if prompts show them."""
        said = SaidTurns(self.shown.past)
        if self.shown.past:
            read = self.scorer.score_texts([turn.text for turn in turns])
            for turn, embedding, probabilities in zip(turns, read.embedding, read.probabilities, strict=True):
                said.append(speakers.person(turn.speaker), ReadTurn(turn.text, embedding, probabilities))
        return said


class CorpusBios:
    """A `SpeakerPast` with the bios of a corpus's speakers and no remembered turns.

    It is for models that attend to bios. Speakers keep their training keys, by which the turns of the corpus
    are found. `times` gives each conversation's place in the corpus's chronology.
    """

    def __init__(self, past: CorpusPast, conversations: Sequence[Conversation]) -> None:
        self._past = past
        self._times = sequence_numbers(chronological(conversations))
        self._names = {
            (one.conversation_id, speaker_key(one.corpus, name, one.conversation_id)): name
            for one in conversations
            for name in one.speakers
        }
        self._corpora = {one.conversation_id: one.corpus for one in conversations}

    def time(self, conversation_id: str) -> float:
        """Place of a conversation in the corpus's chronology."""
        return self._times[conversation_id]

    def person(self, conversation_id: str, name: str) -> str:
        """The speaker's own key, as in training."""
        return speaker_key(self._corpora[conversation_id], name, conversation_id)

    def history(self, person: str, *, before: Moment, limit: int) -> SpeakerHistory:
        """An empty history: the turns of the corpus are read directly."""
        return SpeakerHistory((), 0, 0)

    def similar(
        self, person: str, vector: np.ndarray, *, before: Moment, limit: int
    ) -> Sequence[SimilarUtterance]:
        """No turns."""
        return ()

    def bio(self, person: str, *, before: Moment, limit: int | None = None) -> PastBio | None:
        """The speaker's bio when the conversation began."""
        past = self._past.of(before.conversation_id)
        found = past.person(before.conversation_id, self._names[before.conversation_id, person])
        if found is None:
            return None
        start = Moment(past.start.time, before.conversation_id, 0)
        return past.bio(found, before=start, limit=limit)


def corpus_bios(bios: CorpusBios, conversations: Sequence[Conversation], embed: Embed) -> BioVectors:
    """The bios of each conversation's speakers when it began, as vectors."""
    speakers = Speakers(bios, embed=CachedEmbedding(embed))
    for conversation in conversations:
        identifier = conversation.conversation_id
        for name in conversation.speakers:
            speakers.meet(identifier, corpus=conversation.corpus, name=name, time=bios.time(identifier))
    return speakers.bios or BioVectors()


def _digest(conversations: Sequence[Conversation], scorer: CachedScorer, writer: str) -> str:
    turns = [
        [
            conversation.conversation_id,
            [[turn.utterance_id, turn.speaker, turn.text] for turn in conversation],
        ]
        for conversation in conversations
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
