"""Conversations, their causal contexts, and the corpora they come from."""

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
