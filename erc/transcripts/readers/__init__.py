"""Readers, one module per input format, and what they share."""
