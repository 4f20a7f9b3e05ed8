"""Training: one trainer for all tasks; a task gives batches, a loss and an evaluation."""
