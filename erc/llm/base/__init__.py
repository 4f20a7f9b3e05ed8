"""Base models and their adapters: loading, architecture, memory and digests."""
