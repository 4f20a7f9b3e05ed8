"""Scorers: the models behind the Predictor, and what they read of a speaker's past."""
