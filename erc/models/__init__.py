"""Networks: tensors in, typed tensors out. They read no user files and make no decisions."""
