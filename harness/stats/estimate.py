"""The one shape in which every number leaves the rules."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Estimate:
    """A point estimate with its interval.

    Attributes:
        n: number of observations behind the estimate; 0 means nothing was measured.
        estimate: the point estimate, None when `n` is 0 (missing is not zero).
        low: lower end of the interval, None when it can't be given.
        high: upper end of the interval, None when it can't be given.
        method: how the interval was made, for example `wilson` or `bootstrap-percentile, by task`.
    """

    n: int
    estimate: float | None
    low: float | None
    high: float | None
    method: str
