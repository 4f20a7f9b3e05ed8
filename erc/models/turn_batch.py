"""A batch of whole conversations as tensors, and how it is built from the nouns.

Shapes: B conversations, U turns of them all, T tokens, N past turns of the speaker, E width of an observation
(embedding and probabilities of the shared classifier), M distinct past turns or texts, R bios, K width of a
bio.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Protocol

import numpy as np
import torch
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from erc.data.conversation import Conversation, Utterance
from erc.data.history import HistoryProvider, Moment, PastUtterance, SpeakerHistory
from erc.data.identity import key_of, speaker_key
from erc.data.windows import SpeakerText, local_numbers, spoken_text
from erc.errors import InputError
from erc.models.encoder.batching import length_buckets, pad_tokens
from erc.models.encoder.tokenizing import encode_texts
from erc.models.speaker_embedding import UNKNOWN, SpeakerVocabulary

NO_LABEL = -100
_TEXTS_KEPT = 10_000  # token ids of past texts; a conversation that never ends must not keep all it ever read


@dataclass(frozen=True, slots=True)
class TurnBatch:
    """Turns of whole conversations, in order within each, one conversation after the other.

    input_ids, attention_mask (U, T); conversation (U,) numbers the rows' conversations from 0, turn (U,)
    their places within them; local_speaker (U,) counts speakers by order of appearance, global_speaker (U,)
    is a row of the corpus's table (0 unknown); history_index (U, N) says what is remembered of each speaker,
    oldest first, under history_mask (U, N): rows of observations (M, E), or of memory_ids, memory_mask (M,
    T'), the distinct remembered texts. What several turns remember stands there once; bios (U, R, K) under
    bio_mask (U, R): the first place is the speaker's own, the others follow in the order in which they were
    heard; vectors (U, P) are the turns as the shared classifier's encoder reads them, where a model takes
    them from there; labels (U,) int64, -100 for a turn without one.
    """

    input_ids: Tensor
    attention_mask: Tensor
    conversation: Tensor
    turn: Tensor
    local_speaker: Tensor
    global_speaker: Tensor
    history_index: Tensor | None = None
    history_mask: Tensor | None = None
    observations: Tensor | None = None
    memory_ids: Tensor | None = None
    memory_mask: Tensor | None = None
    bios: Tensor | None = None
    bio_mask: Tensor | None = None
    vectors: Tensor | None = None
    labels: Tensor | None = None

    def __len__(self) -> int:
        return self.input_ids.shape[0]

    def tensors(self) -> dict[str, Tensor]:
        """The tensors that are there, by name."""
        named = ((one.name, getattr(self, one.name)) for one in fields(self))
        return {name: value for name, value in named if value is not None}

    def to(self, device: torch.device | str) -> TurnBatch:
        """The same batch on `device`."""
        return TurnBatch(**{name: value.to(device) for name, value in self.tensors().items()})


@dataclass(frozen=True, slots=True)
class PreparedTurn:
    """A turn made ready once: its token ids, who speaks, its place in the order of turns, its label, its vector (P,) if it has one.

    `truncated` says that the text with its speaker's tag was longer than the model reads.
    """

    input_ids: tuple[int, ...]
    speaker: str
    local_speaker: int
    global_speaker: int
    moment: Moment
    label: int = NO_LABEL
    vector: np.ndarray | None = field(default=None, compare=False)
    truncated: bool = False


Person = Callable[[str, str], str]
"""From a conversation's id and the key of one of its speakers to the key that all names of the person share."""


def own_key(conversation_id: str, key: str) -> str:
    """Every name is a person of its own."""
    return key


class BioProvider(Protocol):
    """Vectors of what is known of the speakers of a conversation, written from their past only."""

    def bios(self, speaker: str, *, before: Moment) -> Sequence[np.ndarray | None]:
        """Vectors (K,): the speaker's own first, None where it has none, then those of others heard so far; empty where nothing is known."""
        ...


class TurnBuilder:
    """Turns conversations into batches: tokenises, numbers the speakers, and looks up each speaker's past.

    `memory_texts` asks for the texts of the past turns (a second encoder reads them), else for their stored
    observations of width `observation_width`. With `history=None` no past is looked up at all. `labels` are
    the gold labels in the order of the model's outputs. `hidden_speakers` is the share of a conversation's
    speakers whose `global_tag` is that of the unknown, so that training shows it. `person` tells which names
    are one person's.
    """

    def __init__(
        self,
        *,
        tokenizer: PreTrainedTokenizerBase,
        max_tokens: int,
        speaker_text: SpeakerText = "none",
        speakers: SpeakerVocabulary | None = None,
        history: HistoryProvider | None = None,
        history_limit: int = 12,
        observation_width: int | None = None,
        memory_texts: bool = False,
        bios: BioProvider | None = None,
        labels: Sequence[str] = (),
        hidden_speakers: float = 0.0,
        person: Person = own_key,
    ) -> None:
        self.tokenizer = tokenizer
        self.max_tokens = max_tokens
        self.speaker_text: SpeakerText = speaker_text
        self.speakers = speakers
        self.history = history
        self.history_limit = history_limit
        self.observation_width = observation_width
        self.memory_texts = memory_texts
        self.bios = bios
        self.hidden_speakers = hidden_speakers
        self.person = person
        self.labels = {label: position for position, label in enumerate(labels)}
        self._texts: dict[str, tuple[int, ...]] = {}
        if history is not None and not memory_texts and observation_width is None:
            raise ValueError("a history of stored observations needs observation_width")

    def prepare(
        self, conversation: Conversation, *, time: float, vectors: np.ndarray | None = None
    ) -> list[PreparedTurn]:
        """All turns of a conversation that took place at `time` in the order of conversations; `vectors` (L, P) are their vectors, if known."""
        local = local_numbers(
            self.person(conversation.conversation_id, key_of(conversation, turn)) for turn in conversation
        )
        texts = [
            self._spoken(turn, conversation.conversation_id, conversation.corpus, i)
            for turn, i in zip(conversation, local, strict=True)
        ]
        ids, cut = self._encoded(texts)
        place = (conversation.conversation_id, conversation.corpus, time)
        known = [None] * len(conversation) if vectors is None else list(vectors)
        return [
            self._prepared(turn, ids[i], local[i], *place, known[i], cut[i])
            for i, turn in enumerate(conversation)
        ]

    def prepare_turn(
        self,
        utterance: Utterance,
        *,
        conversation_id: str,
        corpus: str | None,
        local_speaker: int,
        time: float,
        vector: np.ndarray | None = None,
    ) -> PreparedTurn:
        """One turn of a live conversation; `local_speaker` counts its speakers by order of appearance, from 0."""
        ids, cut = self._encoded([self._spoken(utterance, conversation_id, corpus, local_speaker)])
        return self._prepared(utterance, ids[0], local_speaker, conversation_id, corpus, time, vector, cut[0])

    def collate(self, conversations: Sequence[Sequence[PreparedTurn]]) -> TurnBatch:
        """A batch of conversations (or of single live turns) made ready before; histories are looked up now."""
        turns = [turn for conversation in conversations for turn in conversation]
        if not turns:
            raise ValueError("a batch needs at least one turn")
        input_ids, mask = pad_tokens([turn.input_ids for turn in turns], pad_id=self._pad_id)
        numbers = [number for number, conversation in enumerate(conversations) for _ in conversation]
        vectors = [turn.vector for turn in turns if turn.vector is not None]
        return TurnBatch(
            input_ids=input_ids,
            attention_mask=mask,
            conversation=torch.tensor(numbers),
            turn=torch.tensor([turn.moment.index for turn in turns]),
            local_speaker=torch.tensor([turn.local_speaker for turn in turns]),
            global_speaker=torch.tensor([turn.global_speaker for turn in turns]),
            vectors=torch.from_numpy(np.stack(vectors).astype(np.float32))
            if len(vectors) == len(turns)
            else None,
            labels=torch.tensor([turn.label for turn in turns]),
            **self._remembered(turns),
            **self._described(turns),
        )

    def batch(self, conversations: Sequence[Conversation], *, times: Mapping[str, float]) -> TurnBatch:
        """A batch of conversations; `times` gives each one's place in the order of conversations, by id."""
        return self.collate(
            [
                self.prepare(conversation, time=times[conversation.conversation_id])
                for conversation in conversations
            ]
        )

    @property
    def _pad_id(self) -> int:
        return int(self.tokenizer.pad_token_id or 0)

    def _spoken(self, turn: Utterance, conversation_id: str, corpus: str | None, local: int) -> str:
        hidden = (
            self.hidden_speakers
            and _fraction(f"{conversation_id}/{speaker_key(corpus, turn.speaker, conversation_id)}")
            < self.hidden_speakers
        )
        row = UNKNOWN if hidden else self._row(corpus, turn.speaker)
        return spoken_text(turn.text, self.speaker_text, name=turn.speaker, local=local, row=row)

    def _row(self, corpus: str | None, name: str) -> int:
        return 0 if self.speakers is None else self.speakers.row(corpus, name)

    def _encoded(self, texts: Sequence[str]) -> tuple[list[tuple[int, ...]], list[bool]]:
        return encode_texts(self.tokenizer, texts, max_tokens=self.max_tokens)

    def _prepared(
        self,
        turn: Utterance,
        ids: tuple[int, ...],
        local: int,
        conversation_id: str,
        corpus: str | None,
        time: float,
        vector: np.ndarray | None,
        cut: bool,
    ) -> PreparedTurn:
        return PreparedTurn(
            input_ids=ids,
            speaker=self.person(conversation_id, speaker_key(corpus, turn.speaker, conversation_id)),
            local_speaker=local,
            global_speaker=self._row(corpus, turn.speaker),
            moment=Moment(time=time, conversation_id=conversation_id, index=turn.index),
            label=self._label(turn),
            vector=vector,
            truncated=cut,
        )

    def _label(self, turn: Utterance) -> int:
        if not turn.emotions or not self.labels:
            return NO_LABEL
        if turn.emotions[0] not in self.labels:
            raise InputError(
                f"utterance {turn.utterance_id}: its emotion '{turn.emotions[0]}' is not one of {', '.join(self.labels)}"
            )
        return self.labels[turn.emotions[0]]

    def _remembered(self, turns: Sequence[PreparedTurn]) -> dict[str, Tensor]:
        if self.history is None:
            return {}
        pasts = [
            self.history.history(turn.speaker, before=turn.moment, limit=self.history_limit) for turn in turns
        ]
        width = max(1, max(len(past.turns) for past in pasts))
        mask = torch.zeros(len(turns), width, dtype=torch.bool)
        for row, past in enumerate(pasts):
            mask[row, : len(past.turns)] = True
        return {
            "history_mask": mask,
            **(self._past_texts(pasts, width) if self.memory_texts else self._observations(pasts, width)),
        }

    def _observations(self, pasts: Sequence[SpeakerHistory], width: int) -> dict[str, Tensor]:
        assert self.observation_width is not None
        index = torch.zeros(len(pasts), width, dtype=torch.long)
        order: dict[Moment, int] = {}
        values: list[np.ndarray] = []
        for row, past in enumerate(pasts):
            for place, turn in enumerate(past.turns):
                if turn.moment not in order:
                    order[turn.moment] = len(values)
                    values.append(self._observation(turn))
                index[row, place] = order[turn.moment]
        return {"history_index": index, "observations": torch.from_numpy(np.stack(values))} if values else {}

    def _observation(self, turn: PastUtterance) -> np.ndarray:
        """Embedding and probabilities (E,) float32 of a remembered turn."""
        if len(turn.embedding) + len(turn.probabilities) != self.observation_width:
            found = f"{len(turn.embedding)} + {len(turn.probabilities)} values, this model reads {self.observation_width}"
            raise InputError(
                f"a remembered turn has {found}: rebuild the speaker memory with the model that reads it"
            )
        return np.concatenate([turn.embedding, turn.probabilities], dtype=np.float32)

    def _past_texts(self, pasts: Sequence[SpeakerHistory], width: int) -> dict[str, Tensor]:
        index = torch.zeros(len(pasts), width, dtype=torch.long)
        order: dict[str, int] = {}
        for row, past in enumerate(pasts):
            for place, turn in enumerate(past.turns):
                if turn.text is None:
                    where = f"turn {turn.moment.index} of {turn.moment.conversation_id}"
                    raise InputError(
                        f"{where} is remembered without its text, which this model reads: store texts, or use a shared memory encoder"
                    )
                index[row, place] = order.setdefault(turn.text, len(order))
        if not order:
            return {}
        if len(self._texts) > _TEXTS_KEPT:
            self._texts.clear()
        fresh = [text for text in order if text not in self._texts]
        self._texts.update(zip(fresh, self._encoded(fresh)[0], strict=True))
        memory_ids, memory_mask = pad_tokens([self._texts[text] for text in order], pad_id=self._pad_id)
        return {"memory_ids": memory_ids, "memory_mask": memory_mask, "history_index": index}

    def _described(self, turns: Sequence[PreparedTurn]) -> dict[str, Tensor]:
        if self.bios is None:
            return {}
        found = [list(self.bios.bios(turn.speaker, before=turn.moment)) for turn in turns]
        known = [vector for vectors in found for vector in vectors if vector is not None]
        if not known:
            return {}
        bios = torch.zeros(len(turns), max(len(vectors) for vectors in found), len(known[0]))
        mask = torch.zeros(bios.shape[:2], dtype=torch.bool)
        for row, vectors in enumerate(found):
            for place, vector in enumerate(vectors):
                if vector is not None:
                    bios[row, place] = torch.from_numpy(np.asarray(vector, dtype=np.float32))
                    mask[row, place] = True
        return {"bios": bios, "bio_mask": mask}


def _fraction(name: str) -> float:
    """A number in [0, 1) that is always the same for a name and evenly spread over names."""
    return int.from_bytes(hashlib.blake2b(name.encode("utf-8", "replace"), digest_size=6).digest()) / 2**48


def conversation_buckets(
    prepared: Sequence[Sequence[PreparedTurn]], *, max_tokens: int
) -> Iterator[list[int]]:
    """Indices of conversations that share a batch of at most `max_tokens` tokens; a longer conversation stands alone."""
    yield from length_buckets([token_count(turns) for turns in prepared], max_tokens=max_tokens)


def token_count(turns: Sequence[PreparedTurn]) -> int:
    """Tokens of a conversation."""
    return sum(len(turn.input_ids) for turn in turns)
