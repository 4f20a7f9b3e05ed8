"""Conversations, their causal contexts, speaker histories and corpora."""

from erc.data.conversation import Context, Conversation, Utterance
from erc.data.history import (
    HistoryProvider,
    Moment,
    PastBio,
    PastUtterance,
    SimilarUtterance,
    SpeakerHistory,
    SpeakerPast,
)

__all__ = [
    "Context",
    "Conversation",
    "HistoryProvider",
    "Moment",
    "PastBio",
    "PastUtterance",
    "SimilarUtterance",
    "SpeakerHistory",
    "SpeakerPast",
    "Utterance",
]
