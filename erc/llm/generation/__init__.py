"""Text that a language model writes, and the file that keeps it."""
