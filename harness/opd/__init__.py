"""Training: warm start, on-policy distillation, and the tiny checkpoints they can be shown on."""
