"""Text encoders and what surrounds them: tokens, batches, pooling, precision."""
