"""Networks: tensors in, typed tensors out. Nothing here reads files of users or decides anything."""
