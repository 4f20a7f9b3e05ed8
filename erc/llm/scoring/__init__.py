"""Exact scores of closed label sets under a causal language model."""
