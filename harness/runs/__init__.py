"""Run directories: one evaluated checkpoint on one dataset, written so that a crash loses nothing."""

from harness.runs.directory import RunDirectory
from harness.runs.loading import Run, load, open_run
from harness.runs.manifest import Manifest
from harness.runs.samples import Sample, read_samples

__all__ = ["Manifest", "Run", "RunDirectory", "Sample", "load", "open_run", "read_samples"]
