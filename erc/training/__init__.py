"""Training: one Trainer; tasks differ by a batch function, a loss and an evaluator."""
