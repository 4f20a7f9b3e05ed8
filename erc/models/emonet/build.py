"""Building EmoNet from its settings, in training and in loading.

Each kind of context, memory and join is one entry in a table: `CONTEXTS` (in `erc.models.context.build`),
`MEMORIES` and `JOINS` (in `erc.models.emonet.fusion`).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from erc.models.context.build import build_context
from erc.models.context.layers import AnyEncoder
from erc.models.emonet.fusion import BioJoin
from erc.models.emonet.network import EmoNet
from erc.models.emonet.settings import EmoNetSettings as EmoNetSettings
from erc.models.emonet.settings import MemoryKind as MemoryKind
from erc.models.emonet.speaker_history import BehaviourMemory, OwnMemory, SharedMemory
from erc.models.speaker_embedding import SpeakerTable

MemoryBuilder = Callable[[EmoNetSettings, AnyEncoder | None], BehaviourMemory | None]


def build_emonet(
    settings: EmoNetSettings, *, encoder: AnyEncoder, emotions: int, memory_encoder: AnyEncoder | None = None
) -> EmoNet:
    """Build the untrained network over `encoder`.

    Args:
        settings: The architecture.
        encoder: Encoder of the context.
        emotions: Number of classes.
        memory_encoder: A second encoder, for `memory_encoder: own` only.

    Raises:
        ValueError: If a part lacks its width or its encoder, or parts do not fit together.
    """
    if settings.encoder == "shared" and settings.context != "hierarchical":
        raise ValueError(
            f"encoder 'shared' encodes each turn alone, context '{settings.context}' encodes turns together: "
            "use context 'hierarchical' or encoder 'own'"
        )
    if settings.memory_encoder not in MEMORIES:
        raise ValueError(f"memory_encoder '{settings.memory_encoder}' is unknown: use {', '.join(MEMORIES)}")
    context = build_context(settings, encoder=encoder)
    return EmoNet(
        context=context,
        emotions=emotions,
        memory=MEMORIES[settings.memory_encoder](settings, memory_encoder),
        join=settings.join,
        zero_start=settings.zero_start,
        speakers=_speakers(settings, context.width),
        bio=_bio(settings, context.width),
        head=settings.head,
        head_hidden=settings.head_hidden,
        dropout=settings.dropout,
    )


def _no_memory(settings: EmoNetSettings, encoder: AnyEncoder | None) -> None:
    return None


def _own_memory(settings: EmoNetSettings, encoder: AnyEncoder | None) -> OwnMemory:
    if encoder is None:
        raise ValueError("memory_encoder 'own' needs a second encoder")
    return OwnMemory(encoder=encoder)


def _shared_memory(settings: EmoNetSettings, encoder: AnyEncoder | None) -> SharedMemory:
    if settings.embedding_width is None or settings.observed_labels is None:
        raise ValueError("memory_encoder 'shared' needs embedding_width and observed_labels")
    return SharedMemory(
        embedding_width=settings.embedding_width,
        labels=settings.observed_labels,
        projection=settings.memory_projection,
        width=settings.memory_width,
        dropout=settings.dropout,
    )


MEMORIES: Final[dict[str, MemoryBuilder]] = {
    "none": _no_memory,
    "own": _own_memory,
    "shared": _shared_memory,
}
"""How each kind of speaker memory is built."""


def _speakers(settings: EmoNetSettings, width: int) -> SpeakerTable | None:
    return (
        SpeakerTable(rows=settings.speaker_rows, width=width, dropout=settings.speaker_dropout)
        if settings.speaker_rows
        else None
    )


def _bio(settings: EmoNetSettings, width: int) -> BioJoin | None:
    if settings.bio == "none":
        return None
    if settings.bio_width is None:
        raise ValueError(f"bio '{settings.bio}' needs bio_width")
    return BioJoin(kind=settings.bio, width=width, bio_width=settings.bio_width)
