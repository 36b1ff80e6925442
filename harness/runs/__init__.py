"""Run directories: one evaluated checkpoint on one dataset, written so that a crash loses nothing."""

from harness.runs.loading import Run, load, open_run
from harness.runs.manifest import Manifest
from harness.runs.samples import Sample, read_samples
from harness.runs.source import Source, source_of
from harness.runs.staleness import stale_reasons
from harness.runs.writing import Drawn, RunDirectory

__all__ = [
    "Drawn",
    "Manifest",
    "Run",
    "RunDirectory",
    "Sample",
    "Source",
    "load",
    "open_run",
    "read_samples",
    "source_of",
    "stale_reasons",
]
