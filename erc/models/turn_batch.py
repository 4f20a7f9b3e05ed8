"""Turns as tensors: a batch of whole conversations, and a turn ready to be put into one.

Shapes: U turns of all conversations, T tokens, N past turns of the speaker, E width of an observation
(embedding and probabilities of the shared classifier), M distinct past turns or texts, R bios, K width of a
bio, P width of a turn's vector.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, fields

import numpy as np
import torch
from torch import Tensor

from erc.data.history import Moment
from erc.models.encoder.batching import length_buckets

NO_LABEL = -100
"""Label of a turn without one."""


@dataclass(frozen=True, slots=True)
class TurnBatch:
    """Turns of whole conversations, in order within each, one conversation after the other.

    A past turn or text that several turns remember is stored once and found through `history_index`.

    Attributes:
        input_ids: Token ids, (U, T).
        attention_mask: 1 for real tokens, (U, T).
        conversation: Index of each turn's conversation in the batch, from 0, (U,).
        turn: Index of each turn in its conversation, (U,).
        local_speaker: Speakers numbered by order of appearance in the conversation, (U,).
        global_speaker: Row of the speaker in the corpus's table, 0 for unknown, (U,).
        history_index: Rows of `observations` or of `memory_ids` that each turn's speaker has, oldest first,
            (U, N).
        history_mask: Which of these are real, (U, N) bool.
        observations: Embedding and probabilities of past turns, (M, E).
        memory_ids: Token ids of past texts, (M, T').
        memory_mask: 1 for real tokens of past texts, (M, T').
        bios: Vectors of bios, (U, R, K): the speaker's own first, then the others' in the order in which they
            first spoke.
        bio_mask: Which bios exist, (U, R) bool.
        vectors: The turns as the shared classifier's encoder reads them, (U, P), for models that use them.
        labels: Gold classes, (U,) int64; `NO_LABEL` for a turn without one.
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
        """U, the number of turns."""
        return self.input_ids.shape[0]

    def tensors(self) -> dict[str, Tensor]:
        """The tensors that are not None, by name."""
        named = ((one.name, getattr(self, one.name)) for one in fields(self))
        return {name: value for name, value in named if value is not None}

    def to(self, device: torch.device | str) -> TurnBatch:
        """The same batch on `device`."""
        return TurnBatch(**{name: value.to(device) for name, value in self.tensors().items()})


@dataclass(frozen=True, slots=True)
class PreparedTurn:
    """A tokenised turn.

    Attributes:
        input_ids: Token ids.
        speaker: Key of the speaker, by which the past is looked up.
        local_speaker: Number of the speaker by order of appearance.
        global_speaker: Row of the speaker in the corpus's table.
        moment: When the turn was said, in the order of turns.
        label: Gold class.
        vector: The shared classifier's vector of the turn, (P,).
        truncated: Whether the text with its speaker tag has more tokens than the model reads.
    """

    input_ids: tuple[int, ...]
    speaker: str
    local_speaker: int
    global_speaker: int
    moment: Moment
    label: int = NO_LABEL
    vector: np.ndarray | None = field(default=None, compare=False)
    truncated: bool = False


def conversation_buckets(
    prepared: Sequence[Sequence[PreparedTurn]], *, max_tokens: int
) -> Iterator[list[int]]:
    """Indices of conversations that share a batch of at most `max_tokens` tokens, or of a longer one."""
    yield from length_buckets([token_count(turns) for turns in prepared], max_tokens=max_tokens)


def token_count(turns: Sequence[PreparedTurn]) -> int:
    """Tokens of a conversation."""
    return sum(len(turn.input_ids) for turn in turns)
