"""Settings and fixtures for the whole suite."""

import os

from checkpoint_fixtures import smollm2, tiny_qwen3
from hypothesis import settings

__all__ = ["smollm2", "tiny_qwen3"]

# Timed assertions are defects here, and hypothesis's deadline is one: CI machines are slow and noisy.
settings.register_profile("harness", deadline=None)
settings.load_profile("harness")

# Nothing is on a hub here, and asking costs retries.
os.environ.setdefault("HF_HUB_OFFLINE", "1")
