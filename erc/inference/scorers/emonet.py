"""Scores with EmoNet: the shared classifier reads each turn once, EmoNet reads turns in context.

Shapes: U turns, C emotions, F fine emotions, S samples, P embedding width.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from torch import Tensor

from erc.data import Conversation, HistoryProvider, SpeakerPast
from erc.data.chronology import MemoryScope
from erc.emotions import EmotionSet, load_emotion_map, load_emotion_set
from erc.errors import ArtefactError
from erc.inference.scorers.bio_vectors import CachedEmbedding
from erc.inference.scorers.history import ConversationPast, Speakers
from erc.inference.scorers.mc_uncertainty import chosen_sampling
from erc.inference.scorers.parallel import run_parallel, share
from erc.inference.scorers.scores import PastRead, Scores
from erc.inference.scorers.settings import InferenceSettings
from erc.inference.scorers.utterance import UtteranceScorer, UtteranceScores
from erc.models.context.hierarchical import HierarchicalContext
from erc.models.emonet.network import EmoNet
from erc.models.emonet.reads import EmoNetReads
from erc.models.encoder.batching import length_buckets, pad_tokens
from erc.models.encoder.precision import in_precision, torch_dtype
from erc.models.turn_batch import PreparedTurn, TurnBatch, conversation_buckets, token_count
from erc.models.turn_builder import BioProvider, Person, TurnBuilder, own_key
from erc.persistence.artefact import Artefact
from erc.persistence.networks import shares_encoder
from erc.uncertainty.calibration import calibrate_samples, load_calibrator
from erc.uncertainty.decomposition import Uncertainty, categorical_decomposition, categorical_entropy

_PASSES = 4  # Encoder passes per batch, for context encoders that sort the turns of a batch by length.

_TURNS_AT_ONCE = 2048  # Turns whose samples are decomposed at a time, in double precision.


class EmoNetScorer:
    """The scorer of a conversation model, over the shared classifier it was trained with.

    `target` names the emotion set to report in, through a map of probabilities; None keeps the model's own.

    Raises:
        ArtefactError: The artefact is not an EmoNet, or was trained as a control.
    """

    kind = "emonet"
    in_context = True
    remarks: tuple[str, ...] = ()
    memory_remarks: tuple[str, ...] = ()

    def __init__(
        self,
        artefact: Artefact,
        *,
        utterance: UtteranceScorer,
        settings: InferenceSettings | None = None,
        target: str | None = None,
    ) -> None:
        if not isinstance(artefact.network, EmoNet):
            raise ArtefactError(
                f"{artefact.info.identity} is a model of kind '{artefact.info.kind}', not a conversation "
                "model"
            )
        self.settings = settings or InferenceSettings()
        self.dtype = torch_dtype(self.settings.precision)
        self.network: EmoNet = in_precision(artefact.network, device=self.settings.device, dtype=self.dtype)
        self.artefact = replace(
            artefact, network=self.network
        )  # keeps no copy of the weights in their original precision
        self.utterance = utterance
        self._embed = CachedEmbedding(utterance.embed)
        self.calibrator = load_calibrator(artefact.calibrator)
        own = load_emotion_set(artefact.info.emotion_set)
        self._emotions = load_emotion_set(target) if target else own
        self._map = load_emotion_map(own.name, self._emotions.name)
        self.reads: Mapping[str, Any] = artefact.info.reads
        self.remembers = _remembers(artefact)
        self.history_limit = (
            0 if self.reads.get("history") == "off" else int(self.reads.get("history_limit", 0))
        )
        self.mode, self.samples, self.top_k = chosen_sampling(artefact, self.settings)

    @property
    def identity(self) -> str:
        """`name@version`."""
        return self.artefact.info.identity

    @property
    def width(self) -> int:
        """Hidden width of the encoder."""
        return self.network.context.encoder.hidden_size

    @property
    def emotions(self) -> EmotionSet:
        """The reported set."""
        return self._emotions

    @property
    def fine_emotions(self) -> EmotionSet:
        """The shared classifier's labels."""
        return self.utterance.fine_emotions

    @property
    def past_read(self) -> PastRead:
        """Remembered turns if the model was trained across conversations, and bios if it reads them."""
        return PastRead(turns=self.history_limit if self.remembers else 0, bios=self.reads_bios)

    @property
    def reads_bios(self) -> bool:
        """Whether the model attends to bios."""
        return bool(self.reads.get("bio", "none") != "none")

    @property
    def sampling(self) -> dict[str, Any]:
        """Mode and number of the Monte-Carlo samples, as a report states them."""
        return {"mode": self.mode, "samples": 0 if self.mode == "off" else self.samples}

    def close(self) -> None:
        """Does nothing: the model holds no connections."""

    def speakers(self, past: SpeakerPast | None) -> Speakers:
        """The speakers of the conversations, as identified by `past`."""
        return Speakers(past, embed=self._embed if self.reads_bios else None)

    def builder(self, history: HistoryProvider, speakers: Speakers) -> TurnBuilder:
        """A builder of batches as in training, with this history and these speakers."""
        return make_builder(self.artefact, history, bios=speakers.bios, person=speakers.person)

    def score(self, conversations: Sequence[Conversation], *, past: SpeakerPast | None = None) -> Scores:
        """Scores every turn from its own conversation and its speaker's remembered past."""
        return self._score(ensure_unique_ids(conversations), past, scope="dialogue")

    def score_corpus(
        self, conversations: Sequence[Conversation], *, past: SpeakerPast | None = None
    ) -> Scores:
        """Scores as in the dev evaluation of training: speakers are known from earlier broadcasts.

        A model trained on single conversations reads each separately here too. Transcripts are also read
        separately, because "Ana" may be different persons in two of them.
        """
        known = self.remembers and all(conversation.corpus is not None for conversation in conversations)
        return self._score(conversations, past, scope="global" if known else "dialogue")

    def _score(
        self, conversations: Sequence[Conversation], past: SpeakerPast | None, *, scope: MemoryScope
    ) -> Scores:
        texts = [utterance.text for conversation in conversations for utterance in conversation]
        turns = self.utterance.score_texts(texts)
        speakers = self.speakers(past)
        history = ConversationPast(
            conversations, turns, speakers=speakers, remembers=self.remembers, scope=scope
        )
        builder = self.builder(history, speakers)
        prepared, start = [], 0
        for conversation in conversations:
            end = start + len(conversation)
            time = history.times[conversation.conversation_id]
            vectors = self.vectors(turns.embedding[start:end])
            prepared.append(builder.prepare(conversation, time=time, vectors=vectors))
            start = end
        logits, samples = self._pass(builder, prepared)
        cut = np.array([turn.truncated for one in prepared for turn in one], dtype=bool)
        seen = history.counts(prepared) * (self.history_limit > 0)
        return self.scores(logits, samples, turns, seen, cut)

    def vectors(self, embedding: np.ndarray) -> np.ndarray | None:
        """The classifier's embeddings (U, P) if the model reads turns through them, else None."""
        return embedding if shares_encoder(self.artefact.info) else None

    def scores(
        self,
        logits: np.ndarray,
        samples: np.ndarray | None,
        turns: UtteranceScores,
        seen: np.ndarray,
        cut: np.ndarray,
    ) -> Scores:
        """Calibrated scores of U turns.

        Args:
            logits: (U, C).
            samples: (S, U, C) sampled logits, or None.
            turns: The shared classifier's output for the turns.
            seen: (U, 2) past turns and conversations of each speaker.
            cut: (U,) bool, turns whose text the model truncated.
        """
        probabilities = (
            self._map.apply(self.calibrator(logits)) if len(logits) else np.zeros((0, len(self._emotions)))
        )
        return Scores(
            probabilities=probabilities,
            uncertainty=self._uncertainty(probabilities, samples),
            fine=turns.probabilities,
            fine_epistemic=None if turns.per_label is None else turns.per_label.epistemic,
            embedding=turns.embedding,
            seen=seen,
            truncated=turns.truncated | cut,
        )

    def _pass(
        self, builder: TurnBuilder, prepared: Sequence[Sequence[PreparedTurn]]
    ) -> tuple[np.ndarray, np.ndarray | None]:
        """Logits (U, C), and sampled logits (S, U, C) or None, in the order of the turns."""
        starts = np.cumsum([0, *(len(turns) for turns in prepared)])
        total, labels = int(starts[-1]), len(self.artefact.info.labels)
        prepared = self._encoded(prepared)
        logits = np.empty((total, labels), dtype=np.float32)
        samples = None if self.mode == "off" else np.empty((self.samples, total, labels), dtype=np.float32)
        filled = [i for i, turns in enumerate(prepared) if turns]
        tokens = self.settings.tokens_per_batch * (_PASSES if self.network.context.in_passes else 1)

        def score(bucket: list[int]) -> None:
            chosen = [filled[i] for i in bucket]
            rows = np.concatenate([np.arange(starts[i], starts[i + 1]) for i in chosen])
            batch = self.cast(builder.collate([prepared[i] for i in chosen]))
            output = self.network(batch=batch)
            logits[rows] = output.logits.float().cpu().numpy()
            if samples is not None:
                samples[:, rows] = self._sample(batch, output.embedding).float().cpu().numpy()

        most = share(sum(token_count(turns) for turns in prepared), most=tokens, device=self.settings.device)
        run_parallel(
            score,
            list(conversation_buckets([prepared[i] for i in filled], max_tokens=most)),
            device=self.settings.device,
            width=self.width,
        )
        return logits, samples

    def _encoded(self, prepared: Sequence[Sequence[PreparedTurn]]) -> Sequence[Sequence[PreparedTurn]]:
        """Encodes turns in batches of similar length, across conversations, if each turn is encoded alone.

        This is not possible if a layer of the encoder is sampled. A long conversation becomes several
        batches.
        """
        context, turns = self.network.context, [turn for one in prepared for turn in one]
        if (
            not isinstance(context, HierarchicalContext)
            or self.mode not in ("off", "head")
            or not turns
            or turns[0].vector is not None
        ):
            return prepared
        pad, device = self.artefact.tokenizer.pad_token_id or 0, self.settings.device
        vectors = np.empty((len(turns), context.width), dtype=np.float32)

        def encode(bucket: list[int]) -> None:
            ids, mask = pad_tokens([turns[i].input_ids for i in bucket], pad_id=pad)
            vectors[bucket] = context.turn_vectors(ids.to(device), mask.to(device)).float().cpu().numpy()

        lengths = [len(turn.input_ids) for turn in turns]
        most = share(sum(lengths), most=self.settings.tokens_per_batch, device=device)
        run_parallel(encode, list(length_buckets(lengths, max_tokens=most)), device=device, width=self.width)
        rows = iter(vectors)
        return [[replace(turn, vector=next(rows)) for turn in one] for one in prepared]

    def cast(self, batch: TurnBatch) -> TurnBatch:
        """The batch on the model's device, observations in its precision."""
        tensors = {
            name: value.to(self.dtype) if value.is_floating_point() else value
            for name, value in batch.tensors().items()
        }
        return TurnBatch(**tensors).to(self.settings.device)

    def _sample(self, batch: TurnBatch, embedding: Tensor) -> Tensor:
        if self.mode == "head":
            return self.network.mc_head(embedding, n_samples=self.samples, seed=self.settings.seed)
        return self.network.mc_forward(
            batch,
            self.samples,
            seed=self.settings.seed,
            mode=self.mode,
            top_k=self.top_k,
        )

    def _uncertainty(self, probabilities: np.ndarray, samples: np.ndarray | None) -> Uncertainty:
        """Entropies (U,) of the reported distribution."""
        if samples is None or not len(probabilities):
            nothing = np.full(len(probabilities), np.nan)
            return Uncertainty(total=categorical_entropy(probabilities), aleatoric=nothing, epistemic=nothing)
        parts = [
            categorical_decomposition(
                self._map.apply(
                    calibrate_samples(self.calibrator, samples[:, start : start + _TURNS_AT_ONCE])
                )
            )
            for start in range(0, samples.shape[1], _TURNS_AT_ONCE)
        ]
        return Uncertainty(
            *(
                np.concatenate([getattr(part, name) for part in parts])
                for name in ("total", "aleatoric", "epistemic")
            )
        )


def _remembers(artefact: Artefact) -> bool:
    """Whether the model was trained with a speaker's turns of other conversations.

    Raises:
        ArtefactError: The model is a control, trained with another speaker's past.
    """
    kind = artefact.info.reads.get("history", "global")
    if kind not in ("off", "dialogue", "global"):
        raise ArtefactError(
            f"{artefact.info.identity} was trained as a control (history: {kind}), with the history of "
            "other speakers: only its training figures can be compared"
        )
    return kind == "global" and artefact.info.reads.get("memory_encoder", "none") != "none"


def make_builder(
    artefact: Artefact, history: HistoryProvider, *, bios: BioProvider | None = None, person: Person = own_key
) -> TurnBuilder:
    """The `TurnBuilder` an artefact was trained with, for another history, other bios and other speakers."""
    return EmoNetReads.from_dict(artefact.info.reads).builder(
        tokenizer=artefact.tokenizer,
        max_tokens=artefact.info.max_tokens,
        history=history,
        bios=bios,
        person=person,
    )


def ensure_unique_ids(conversations: Sequence[Conversation]) -> list[Conversation]:
    """Gives conversations with equal ids unique ones, so none is read as the past of another."""
    seen: set[str] = set()
    apart = []
    for number, conversation in enumerate(conversations):
        if conversation.conversation_id in seen:
            conversation = replace(
                conversation, conversation_id=f"{conversation.conversation_id}\0{number}"
            )  # no transcript's id contains NUL
        seen.add(conversation.conversation_id)
        apart.append(conversation)
    return apart
