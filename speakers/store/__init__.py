"""The database of the speaker memory."""

from speakers.store.engine import Store

__all__ = ["Store"]
