"""Connects models to the speaker memory. Only this package builds a speaker's past."""
