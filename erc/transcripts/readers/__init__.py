"""Readers, one module per input format, and their shared code."""
