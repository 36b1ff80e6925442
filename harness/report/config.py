"""Everything a `harness report` is told."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, field_validator

from harness.settings import Settings

Format = Literal["html", "md", "json"]
Redact = Literal["titles"]

DEFAULT_ROWS = 10_000
"""Rows of the samples viewer where no number is given; fewer where they would make the file too large."""


class ReportConfig(Settings, title="Report"):
    """One report."""

    runs: Annotated[tuple[Path, ...], Field(min_length=1)]
    """Run directories, in the order in which they are shown, or folders that hold runs, such as a sweep's."""
    baseline: str | None = None
    """Name or directory of the run that the others are compared with; the last by default."""
    title: str | None = None
    """Title of the page; made from the runs' names by default."""
    max_samples: Annotated[int | None, Field(ge=0)] = None
    """Rows of the samples viewer (a row is one sample of one task in every run that has it); 0 leaves it out.
    10,000, or as many as keep the file small, by default."""
    redact: Redact | None = None
    """Hide catalogue titles and mask the words of outputs."""
    margin: Annotated[float, Field(gt=0, lt=1)] = 0.02
    """Largest difference that counts as none, in the metric's own unit."""
    x: Literal["lambda"] | None = None
    """Plot against λ, and refuse runs without one; by default where three runs or more have one."""
    lambdas: dict[str, float] = Field(default_factory=dict)
    """λ of runs by name, where the runs themselves don't say."""

    @field_validator("lambdas")
    @classmethod
    def _positive(cls, lambdas: dict[str, float]) -> dict[str, float]:
        for name, value in lambdas.items():
            if not (math.isfinite(value) and value > 0):
                raise ValueError(f"λ of {name} is {value}; it must be finite and above 0")
        return lambdas
