"""Supervised fine-tuning: examples, batches, the training loop."""
