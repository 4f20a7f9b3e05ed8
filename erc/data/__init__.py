"""Conversations, their causal contexts, and the corpora they come from."""

from erc.data.conversation import Context, Conversation, Utterance
from erc.data.history import HistoryProvider, Moment, PastUtterance, SpeakerHistory

__all__ = [
    "Context",
    "Conversation",
    "HistoryProvider",
    "Moment",
    "PastUtterance",
    "SpeakerHistory",
    "Utterance",
]
