"""Settings for the whole suite."""

from hypothesis import settings

# Timed assertions are defects here, and hypothesis's deadline is one: CI machines are slow and noisy.
settings.register_profile("harness", deadline=None)
settings.load_profile("harness")
