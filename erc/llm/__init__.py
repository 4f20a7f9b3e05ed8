"""Labelling with language models: prompts, exact label scores, retrieval, backends and recipes."""
