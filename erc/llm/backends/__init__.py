"""Backends that score labels or write text: a local model, a live conversation, and a server."""
