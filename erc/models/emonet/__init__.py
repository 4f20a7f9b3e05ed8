"""EmoNet: context encoder, speaker memory and head, built from plain settings."""
