"""Vector search over the past of a speaker or of all speakers."""
