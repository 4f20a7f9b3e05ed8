"""From conversations to batches of turns.

Shapes: U turns, L turns of a conversation, P width of a turn's vector, K width of a bio.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

import numpy as np
import torch
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from erc.data.conversation import Conversation, Utterance
from erc.data.history import HistoryProvider, Moment
from erc.data.identity import key_of, speaker_key
from erc.data.windows import SpeakerText, local_numbers, spoken_text
from erc.errors import InputError
from erc.models.encoder.batching import pad_tokens
from erc.models.encoder.tokenizing import encode_texts
from erc.models.speaker_embedding import UNKNOWN, SpeakerVocabulary
from erc.models.speaker_past import PastTexts, bio_tensors, history_mask, observation_tensors
from erc.models.turn_batch import NO_LABEL, PreparedTurn, TurnBatch

Person = Callable[[str, str], str]
"""Maps a conversation's id and a speaker's key to one key for all names of the person."""


def own_key(conversation_id: str, key: str) -> str:
    """A `Person` for which every name is a different person."""
    return key


class BioProvider(Protocol):
    """Vectors of the bios of a conversation's speakers, written from their past only."""

    def bios(self, speaker: str, *, before: Moment) -> Sequence[np.ndarray | None]:
        """Vectors (K,): the speaker's own first (None without one), then those of the others heard so far.

        Empty if there is no bio at all.
        """
        ...


class TurnBuilder:
    """Tokenises turns, numbers their speakers, and looks up each speaker's past.

    Args:
        tokenizer: The tokenizer of the model's encoder.
        max_tokens: Maximum number of tokens of a turn, special tokens included.
        speaker_text: How the speaker is written in front of the text.
        separators: Whether a turn's tokens end with the tokenizer's separator.
        speakers: The speakers with a row in the global table.
        history: Where a speaker's past is looked up; None for no past.
        history_limit: Most recent turns of the speaker that are read.
        embedding_width: Width of a stored embedding, needed to read observations.
        observed_labels: Number of stored probabilities, needed to read observations.
        memory_texts: Whether the texts of the past turns are read, instead of their observations.
        bios: Where bios are looked up; None for no bios.
        labels: Gold labels in the order of the model's outputs.
        hidden_speakers: Share of a conversation's speakers that are written as unknown (`global_tag`), so
            that the unknown speaker is trained too.
        person: Which names belong to one person.

    Raises:
        ValueError: If observations are to be read and their widths are missing.
    """

    def __init__(
        self,
        *,
        tokenizer: PreTrainedTokenizerBase,
        max_tokens: int,
        speaker_text: SpeakerText = "none",
        separators: bool = True,
        speakers: SpeakerVocabulary | None = None,
        history: HistoryProvider | None = None,
        history_limit: int = 12,
        embedding_width: int | None = None,
        observed_labels: int | None = None,
        memory_texts: bool = False,
        bios: BioProvider | None = None,
        labels: Sequence[str] = (),
        hidden_speakers: float = 0.0,
        person: Person = own_key,
    ) -> None:
        self.tokenizer = tokenizer
        self.max_tokens = max_tokens
        self.speaker_text: SpeakerText = speaker_text
        self.separators = separators
        self.speakers = speakers
        self.history = history
        self.history_limit = history_limit
        self.memory_texts = memory_texts
        self.bios = bios
        self.hidden_speakers = hidden_speakers
        self.person = person
        self.labels = {label: position for position, label in enumerate(labels)}
        self._pad_id = int(tokenizer.pad_token_id or 0)
        self._texts = (
            PastTexts(lambda texts: self._encoded(texts)[0], pad_id=self._pad_id) if memory_texts else None
        )
        self._widths = (
            None
            if embedding_width is None or observed_labels is None
            else {"embedding_width": embedding_width, "labels": observed_labels}
        )
        if history is not None and not memory_texts and self._widths is None:
            raise ValueError("a history of stored observations needs embedding_width and observed_labels")

    def prepare(
        self, conversation: Conversation, *, time: float, vectors: np.ndarray | None = None
    ) -> list[PreparedTurn]:
        """Prepare all turns of a conversation.

        Args:
            conversation: The conversation.
            time: Its place in the order of conversations.
            vectors: The shared classifier's vectors of its turns, (L, P), for models that read them.

        Raises:
            InputError: If a turn's gold label is not one of the builder's.
        """
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
        """Prepare one turn of a live conversation; `local_speaker` is its speaker's number, from 0.

        Raises:
            InputError: If the turn's gold label is not one of the builder's.
        """
        ids, cut = self._encoded([self._spoken(utterance, conversation_id, corpus, local_speaker)])
        return self._prepared(utterance, ids[0], local_speaker, conversation_id, corpus, time, vector, cut[0])

    def collate(self, conversations: Sequence[Sequence[PreparedTurn]]) -> TurnBatch:
        """A batch of prepared conversations, or of single live turns; looks up histories and bios now.

        Raises:
            ValueError: If there is no turn.
            InputError: If the history lacks the texts, or holds observations of other widths.
        """
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
            **self._pasts(turns),
            **self._bios(turns),
        )

    def batch(self, conversations: Sequence[Conversation], *, times: Mapping[str, float]) -> TurnBatch:
        """A batch of conversations; `times` gives each one's place in the order of conversations, by id.

        Raises:
            ValueError: If there is no turn.
            InputError: As `prepare` and `collate`.
        """
        return self.collate(
            [
                self.prepare(conversation, time=times[conversation.conversation_id])
                for conversation in conversations
            ]
        )

    def _spoken(self, turn: Utterance, conversation_id: str, corpus: str | None, local: int) -> str:
        hidden = (
            self.hidden_speakers
            and _fraction(f"{conversation_id}/{speaker_key(corpus, turn.speaker, conversation_id)}")
            < self.hidden_speakers
        )
        row = UNKNOWN if hidden else self._row(corpus, turn.speaker)
        return spoken_text(turn.text, self.speaker_text, name=turn.speaker, local=local, row=row)

    def _row(self, corpus: str | None, name: str) -> int:
        return UNKNOWN if self.speakers is None else self.speakers.row(corpus, name)

    def _encoded(self, texts: Sequence[str]) -> tuple[list[tuple[int, ...]], list[bool]]:
        return encode_texts(self.tokenizer, texts, max_tokens=self.max_tokens, separator=self.separators)

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
                f"utterance {turn.utterance_id}: its emotion '{turn.emotions[0]}' is not one of "
                f"{', '.join(self.labels)}"
            )
        return self.labels[turn.emotions[0]]

    def _pasts(self, turns: Sequence[PreparedTurn]) -> dict[str, Tensor]:
        if self.history is None:
            return {}
        pasts = [
            self.history.history(turn.speaker, before=turn.moment, limit=self.history_limit) for turn in turns
        ]
        if self._texts is not None:
            found = self._texts.tensors(pasts)
        else:
            assert self._widths is not None
            found = observation_tensors(pasts, **self._widths)
        return {"history_mask": history_mask(pasts), **found}

    def _bios(self, turns: Sequence[PreparedTurn]) -> dict[str, Tensor]:
        if self.bios is None:
            return {}
        return bio_tensors([list(self.bios.bios(turn.speaker, before=turn.moment)) for turn in turns])


def _fraction(name: str) -> float:
    """A number in [0, 1) that depends on `name` alone and is spread evenly over names."""
    return int.from_bytes(hashlib.blake2b(name.encode("utf-8", "replace"), digest_size=6).digest()) / 2**48
