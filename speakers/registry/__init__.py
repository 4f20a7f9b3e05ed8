"""The public interface of the speaker memory."""

from speakers.registry.registry import END, Options, Registry

__all__ = ["END", "Options", "Registry"]
