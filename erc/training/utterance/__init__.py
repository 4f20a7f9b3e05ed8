"""Training the utterance classifier."""
