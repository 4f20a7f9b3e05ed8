"""Context encoders: encode each turn with the turns before it, in one of three modes."""
