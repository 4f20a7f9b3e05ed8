"""Convemo: the emotion of every turn of a conversation, with speaker memory and honest uncertainty."""

from importlib.metadata import PackageNotFoundError, version

try:
    __version__ = version("convemo")
except PackageNotFoundError:  # a source tree that was never installed
    __version__ = "0.0.0"
