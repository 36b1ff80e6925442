"""Settings and fixtures for the whole suite."""

import os
import signal

from hypothesis import settings

from tests.checkpoints.checkpoint_fixtures import family, smollm2, tiny_qwen3

__all__ = ["family", "smollm2", "tiny_qwen3"]

# Timed assertions are defects here, and hypothesis's deadline is one: CI machines are slow and noisy.
settings.register_profile("harness", deadline=None)
settings.load_profile("harness")

# Nothing is on a hub here, and asking costs retries.
os.environ.setdefault("HF_HUB_OFFLINE", "1")

# A job that a shell put in the background ignores Ctrl-C and hands that on to the processes tests start.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
