"""Prompts: templates, what they show, and how they fit a token budget."""
