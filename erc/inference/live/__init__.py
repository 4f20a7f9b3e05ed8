"""Live conversations, labelled turn by turn."""
