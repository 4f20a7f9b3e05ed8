"""Training conversation models."""
