"""Everything a `harness report` is told."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator

Format = Literal["html", "md"]
Redact = Literal["titles"]

DEFAULT_ROWS = 10_000
"""Rows of the samples viewer where no number is given; fewer where they would make the file too large."""


class ReportConfig(BaseModel):
    """One report.

    Attributes:
        runs: run directories, in the order in which they are shown.
        baseline: name or directory of the run that the others are compared with; None takes the first.
        title: of the page; None makes one from the runs' names.
        max_samples: rows of the samples viewer (a row is one sample of one task in every run that has it);
            0 leaves the viewer out. None is `DEFAULT_ROWS`, or as many as keep the file small.
        redact: what to leave out: `titles` masks every catalogue title and every word of an output.
        margin: largest difference that counts as none, in (0, 1), in the metric's own unit.
        x: `lambda` asks for the plots against λ and refuses runs without one; None draws them where three
            runs or more have one.
        lambdas: λ of runs by name, where the runs themselves don't say.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    runs: Annotated[tuple[Path, ...], Field(min_length=1)]
    baseline: str | None = None
    title: str | None = None
    max_samples: Annotated[int, Field(ge=0)] | None = None
    redact: Redact | None = None
    margin: Annotated[float, Field(gt=0, lt=1)] = 0.02
    x: Literal["lambda"] | None = None
    lambdas: dict[str, float] = Field(default_factory=dict)

    @field_validator("lambdas")
    @classmethod
    def _positive(cls, lambdas: dict[str, float]) -> dict[str, float]:
        for name, value in lambdas.items():
            if not (math.isfinite(value) and value > 0):
                raise ValueError(f"λ of {name} is {value}; it must be finite and above 0")
        return lambdas
