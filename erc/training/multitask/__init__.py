"""Training the shared classifier and conversation models over one encoder."""
