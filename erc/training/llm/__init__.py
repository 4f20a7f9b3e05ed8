"""Training of LoRA adapters by recipes."""
