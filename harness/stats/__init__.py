"""Estimates with their uncertainty: pure numpy, no files, no torch."""

from harness.stats.estimate import Estimate

__all__ = ["Estimate"]
