"""Labelling by a language model: prompts, exact label scores, retrieval, back ends and recipes."""
