"""A conversation model at work: the shared classifier reads every turn once, EmoNet reads the turns in their context.

Shapes: U turns, C emotions, F fine emotions, S samples, P embedding width.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from erc.data import Conversation, HistoryProvider, Moment, PastUtterance, SpeakerHistory
from erc.data.chronology import InMemoryHistory, sequence_numbers, speaker_key
from erc.data.corpora.corpus import chronological
from erc.emotions import EmotionSet, load_emotion_map, load_emotion_set
from erc.errors import ArtefactError
from erc.inference.bio_vectors import BioVectors
from erc.inference.sampling import chosen_sampling
from erc.inference.scores import Scores
from erc.inference.settings import InferenceSettings
from erc.inference.utterance_scorer import UtteranceScorer, UtteranceScores
from erc.models.emonet import EmoNet
from erc.models.precision import torch_dtype
from erc.models.speakers_table import SpeakerVocabulary
from erc.models.turns import BioProvider, PreparedTurn, TurnBatch, TurnBuilder, conversation_buckets
from erc.persistence.artefact import Artefact
from erc.uncertainty.calibration import calibrate_samples, load_calibrator
from erc.uncertainty.decomposition import Uncertainty, categorical_decomposition, categorical_entropy


@dataclass(frozen=True, slots=True)
class StoredPast:
    """What a speaker memory knows before some conversations: a provider, and each conversation's place in its order by id."""

    provider: HistoryProvider
    times: Mapping[str, float]
    keys: Mapping[tuple[str, str], str]
    """(conversation id, speaker as written) -> the key the provider files that speaker under."""
    bios: BioVectors | None = None
    """What the memory says of the speakers as vectors; read by a model that attends to bios."""

    def preceding(self, recent: SpeakerHistory, speaker: str, *, before: Moment, limit: int) -> SpeakerHistory:
        """`recent` turns of a conversation's speaker with what the memory holds from before that conversation in front, `limit` in all."""
        key = self.keys.get((before.conversation_id, speaker))
        if key is None:
            return recent
        start = Moment(before.time, before.conversation_id, 0)
        older = self.provider.history(key, before=start, limit=max(0, limit - len(recent.turns)))
        return SpeakerHistory((*older.turns, *recent.turns), older.utterances + recent.utterances, older.conversations + recent.conversations)


class EmoNetScorer:
    """A conversation model from its artefact, over the shared classifier it was trained with.

    `target` names the emotion set to report in (through the map of probabilities); None keeps the model's own.
    """

    def __init__(
        self, artefact: Artefact, *, utterance: UtteranceScorer, settings: InferenceSettings | None = None, target: str | None = None
    ) -> None:
        if not isinstance(artefact.network, EmoNet):
            raise ArtefactError(f"{artefact.info.identity} is a model of kind '{artefact.info.kind}', not a conversation model")
        self.settings = settings or InferenceSettings()
        self.artefact = artefact
        self.utterance = utterance
        self.calibrator = load_calibrator(artefact.calibrator)
        own = load_emotion_set(artefact.info.emotion_set)
        self._emotions = load_emotion_set(target) if target else own
        self._map = load_emotion_map(own.name, self._emotions.name)
        self.reads: Mapping[str, Any] = artefact.info.reads
        self.mode, self.samples, self.top_k = chosen_sampling(artefact, self.settings)
        self.dtype = torch_dtype(self.settings.precision)
        self.network: EmoNet = artefact.network.to(device=self.settings.device, dtype=self.dtype).eval()

    @property
    def identity(self) -> str:
        return self.artefact.info.identity

    @property
    def emotions(self) -> EmotionSet:
        return self._emotions

    @property
    def fine_emotions(self) -> EmotionSet:
        return self.utterance.fine_emotions

    def builder(self, history: HistoryProvider, *, stored: StoredPast | None = None) -> TurnBuilder:
        """Turns conversations into batches as in training, over this history and the bios of a memory."""
        return make_builder(self.artefact, history, bios=None if stored is None else stored.bios)

    def score(self, conversations: Sequence[Conversation]) -> Scores:
        """Belief about every turn, each from its past alone; a corpus's speakers are known across its conversations, in chronological order."""
        return self.score_after(conversations, None)

    def score_after(self, conversations: Sequence[Conversation], stored: StoredPast | None) -> Scores:
        """As `score`, with what a speaker memory holds of the speakers before these conversations."""
        turns = self.utterance.score_texts([utterance.text for conversation in conversations for utterance in conversation])
        conversations = _told_apart(conversations)
        past = _Past(conversations, turns, stored)
        builder = self.builder(past, stored=stored)
        starts = np.cumsum([0, *(len(conversation) for conversation in past.conversations)])
        prepared = [
            builder.prepare(talk, time=past.times[talk.conversation_id], vectors=self.vectors(turns.embedding[start : start + len(talk)]))
            for talk, start in zip(past.conversations, starts, strict=False)
        ]
        logits, samples = self._pass(builder, prepared)
        cut = np.array([turn.truncated for one in prepared for turn in one], dtype=bool)
        return self.belief(logits, samples, turns, past.counts(prepared, int(self.reads.get("history_limit", 0))), cut)

    def vectors(self, embedding: np.ndarray) -> np.ndarray | None:
        """The shared classifier's embeddings (U, P) where they are what the model reads of turns, else None."""
        return embedding if self.artefact.info.shares_encoder else None

    def belief(self, logits: np.ndarray, samples: np.ndarray | None, turns: UtteranceScores, seen: np.ndarray, cut: np.ndarray) -> Scores:
        """Logits (U, C) and samples (S, U, C) or None of some turns, with what the shared classifier read in them, as calibrated belief.

        `seen` (U, 2) counts the past turns and conversations behind each, `cut` (U,) bool marks turns this model did not read to the end.
        """
        probabilities = self._map.apply(self.calibrator(logits)) if len(logits) else np.zeros((0, len(self._emotions)))
        return Scores(
            probabilities=probabilities,
            uncertainty=self._uncertainty(probabilities, samples),
            fine=turns.probabilities,
            fine_epistemic=None if turns.per_label is None else turns.per_label.epistemic,
            embedding=turns.embedding,
            seen=seen,
            truncated=turns.truncated | cut,
        )

    @torch.inference_mode()
    def _pass(self, builder: TurnBuilder, prepared: Sequence[Sequence[PreparedTurn]]) -> tuple[np.ndarray, np.ndarray | None]:
        """Logits (U, C) of the deterministic pass and (S, U, C) of the sampled one or None, in the order of the turns."""
        starts = np.cumsum([0, *(len(turns) for turns in prepared)])
        total, labels = int(starts[-1]), len(self.artefact.info.labels)
        logits = np.empty((total, labels), dtype=np.float32)
        samples = None if self.mode == "off" else np.empty((self.samples, total, labels), dtype=np.float32)
        filled = [i for i, turns in enumerate(prepared) if turns]
        for bucket in conversation_buckets([prepared[i] for i in filled], max_tokens=self.settings.tokens_per_batch):
            chosen = [filled[i] for i in bucket]
            rows = np.concatenate([np.arange(starts[i], starts[i + 1]) for i in chosen])
            batch = self.cast(builder.collate([prepared[i] for i in chosen]))
            output = self.network(batch=batch)
            logits[rows] = output.logits.float().cpu().numpy()
            if samples is not None:
                samples[:, rows] = self._sample(batch, output.embedding).float().cpu().numpy()
        return logits, samples

    def cast(self, batch: TurnBatch) -> TurnBatch:
        """The batch on the model's device, its observations in the model's precision."""
        tensors = {name: value.to(self.dtype) if value.is_floating_point() else value for name, value in batch.tensors().items()}
        return TurnBatch(**tensors).to(self.settings.device)

    def _sample(self, batch: TurnBatch, embedding: Tensor) -> Tensor:
        if self.mode == "head":
            return self.network.mc_head(embedding, n_samples=self.samples, seed=self.settings.seed)
        return self.network.mc_forward(batch, self.samples, seed=self.settings.seed, mode=self.mode, top_k=self.top_k)  # type: ignore[arg-type]

    def _uncertainty(self, probabilities: np.ndarray, samples: np.ndarray | None) -> Uncertainty:
        """Entropies (U,) of the reported distribution."""
        if samples is None or not len(probabilities):
            nothing = np.full(len(probabilities), np.nan)
            return Uncertainty(total=categorical_entropy(probabilities), aleatoric=nothing, epistemic=nothing)
        return categorical_decomposition(self._map.apply(calibrate_samples(self.calibrator, samples)))


def make_builder(artefact: Artefact, history: HistoryProvider, *, bios: BioProvider | None = None) -> TurnBuilder:
    """The `TurnBuilder` an artefact was trained with, over another history and other bios."""
    info, reads = artefact.info, artefact.info.reads
    names = reads.get("speakers")
    return TurnBuilder(
        tokenizer=artefact.tokenizer,
        max_tokens=info.max_tokens,
        speaker_text=reads.get("speaker_text", "none"),
        speakers=SpeakerVocabulary(corpus=str(reads["speaker_corpus"]), names=tuple(names)) if names else None,
        history=None if reads.get("memory_encoder") == "none" else history,
        history_limit=int(reads.get("history_limit", 0)),
        observation_width=reads.get("observation_width"),
        memory_texts=reads.get("memory_encoder") == "own",
        bios=None if reads.get("bio", "none") == "none" else bios,
    )


def _told_apart(conversations: Sequence[Conversation]) -> list[Conversation]:
    """The conversations under ids that differ: two transcripts may be called alike without one being the other's past."""
    seen: set[str] = set()
    apart = []
    for number, conversation in enumerate(conversations):
        if conversation.conversation_id in seen:
            conversation = replace(conversation, conversation_id=f"{conversation.conversation_id}\0{number}")  # no transcript's id has a NUL
        seen.add(conversation.conversation_id)
        apart.append(conversation)
    return apart


class _Past:
    """The history a pass reads: these conversations' own turns, after whatever a speaker memory holds.

    Without a memory, speakers of a corpus are the same across its conversations, those of a user's transcripts are not: two files that
    both name an "Ana" need not mean one person.
    """

    def __init__(self, conversations: Sequence[Conversation], turns: UtteranceScores, stored: StoredPast | None) -> None:
        self.stored = stored
        self.conversations = conversations
        self.times = dict(stored.times) if stored is not None else sequence_numbers(chronological(conversations))
        self.within = InMemoryHistory(scope="dialogue")
        self.across = InMemoryHistory(scope="global")
        row = 0
        for conversation in conversations:
            for utterance in conversation:
                past = PastUtterance(
                    moment=Moment(self.times[conversation.conversation_id], conversation.conversation_id, utterance.index),
                    embedding=turns.embedding[row].astype(np.float16),
                    probabilities=turns.probabilities[row].astype(np.float32),
                    text=utterance.text,
                )
                history = self.within if conversation.corpus is None else self.across
                history.add(speaker_key(conversation.corpus, utterance.speaker), past)
                row += 1

    def history(self, speaker: str, *, before: Moment, limit: int) -> SpeakerHistory:
        """What was said before: in this conversation, else in the corpus, else in the memory."""
        known = self.across.history(speaker, before=before, limit=limit)
        own = self.within.history(speaker, before=before, limit=limit)
        recent = SpeakerHistory(
            (*known.turns, *own.turns)[-limit:] if limit else (), known.utterances + own.utterances, known.conversations + own.conversations
        )
        return recent if self.stored is None else self.stored.preceding(recent, speaker, before=before, limit=limit)

    def counts(self, prepared: Sequence[Sequence[PreparedTurn]], limit: int) -> np.ndarray:
        """(U, 2): how many past turns of the speaker each prediction could rest on, and of how many conversations."""
        found = [self.history(turn.speaker, before=turn.moment, limit=0) for turns in prepared for turn in turns]
        return np.array([(one.utterances, one.conversations) for one in found], dtype=np.int64).reshape(-1, 2) * (limit > 0)
