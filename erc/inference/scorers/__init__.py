"""Scorers: models as the Predictor uses them, and what they read of a speaker's past."""
