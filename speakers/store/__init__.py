"""The database under the speaker memory."""

from speakers.store.engine import Store

__all__ = ["Store"]
