"""Context encoders: each turn with the turns before it, in one of three modes."""
