"""The bridge between models and the speaker memory; only this room builds a speaker's past."""
