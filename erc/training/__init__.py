"""Training: one trainer for all tasks. A task provides batches, a loss and an evaluation."""
