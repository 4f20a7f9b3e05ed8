"""Boolean masks over the turns of conversations, in reading order.

A mask has one entry per turn, in the order of the rows of every scored matrix.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from erc.data.conversation import Conversation
from erc.models.speaker_embedding import UNKNOWN, SpeakerVocabulary

POSITION_EDGES = (1, 3, 6, 11)


def dialogue_ids(conversations: Iterable[Conversation]) -> np.ndarray:
    """The conversation id of every turn: the `groups` of folds, resamples and guarantees."""
    return np.array(
        [conversation.conversation_id for conversation in conversations for _ in conversation], dtype=object
    ).astype(str)


def first_of_speaker(conversations: Iterable[Conversation]) -> np.ndarray:
    """True at each speaker's first turn in a conversation, where only other conversations provide history."""
    mask = []
    for conversation in conversations:
        heard: set[str] = set()
        for utterance in conversation:
            mask.append(utterance.speaker not in heard)
            heard.add(utterance.speaker)
    return np.array(mask, dtype=bool)


def first_in_conversation(conversations: Iterable[Conversation]) -> np.ndarray:
    """True at the first turn of each conversation, which has no past."""
    return np.array(
        [utterance.index == 0 for conversation in conversations for utterance in conversation], dtype=bool
    )


def position_buckets(
    conversations: Iterable[Conversation], *, edges: Sequence[int] = POSITION_EDGES
) -> dict[str, np.ndarray]:
    """Masks by the turn's index; edges 1, 3, 6, 11 give buckets '0', '1-2', '3-5', '6-10', '11+'."""
    if not edges or list(edges) != sorted(set(edges)) or edges[0] < 1:
        raise ValueError(f"edges={tuple(edges)}: expected rising positive turn numbers")
    positions = np.array(
        [utterance.index for conversation in conversations for utterance in conversation], dtype=np.int64
    )
    masks = {}
    for low, high in zip((0, *edges), (*edges, None), strict=True):
        name = f"{low}+" if high is None else str(low) if high == low + 1 else f"{low}-{high - 1}"
        masks[name] = (positions >= low) & (
            positions < (high if high is not None else np.iinfo(np.int64).max)
        )
    return masks


def known_speakers(conversations: Iterable[Conversation], known: SpeakerVocabulary) -> np.ndarray:
    """True where the speaker is one of `known`, for example of the training split."""
    rows = [
        known.row(conversation.corpus, utterance.speaker)
        for conversation in conversations
        for utterance in conversation
    ]
    return np.array(rows, dtype=np.int64) != UNKNOWN
