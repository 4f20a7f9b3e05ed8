"""Text encoders, with tokenisation, batches, pooling and precision."""
