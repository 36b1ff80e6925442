"""How severe a locked test is: how easily an onset that knows nothing of λ* would have hit its window."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from harness.sweep.plan import SweepPlan
from harness.sweep.prereg.lock_file import PreregTest, Window

FloatArray = npt.NDArray[np.float64]

_POINTS = 100
"""Places looked at between two λ of the grid, where two onsets are compared."""


@dataclass(frozen=True, slots=True)
class Severity:
    """What it takes to hit a window.

    Attributes:
        share: part of the tested grid that the window covers: the chance that an onset lies in it which falls
            between any two neighbouring λ with equal chance, evenly in log λ. More than that can't be the
            chance of a hit, for which a whole interval must lie there. Of a ratio: both onsets drawn like
            that, independently.
        gaps: number of gaps of the grid, None of a ratio.
        gaps_inside: of them, those wholly in the window. Where runs all collapse from some λ on, the onset's
            interval is a gap: with none inside, such a cliff can't be a hit.
    """

    share: float
    gaps: int | None
    gaps_inside: int | None


def severity(plan: SweepPlan, test: PreregTest) -> Severity:
    """How severe a test of a plan is, from grid and window alone.

    Args:
        plan: the locked plan.
        test: one of the lock's.
    """
    grid = plan.arm(test.arm).lambdas
    if test.against is not None:
        first, second = (_evenly(plan.arm(name).lambdas) - 1.0 for name in (test.against, test.arm))
        with np.errstate(divide="ignore", invalid="ignore"):
            ratio = np.maximum(second, 0.0)[:, None] / np.maximum(first, 0.0)[None, :]
        # 0/0, two onsets at or below 1, is no ratio and no hit.
        inside = (ratio >= test.window.low) & (ratio <= _top(test.window))
        return Severity(float(inside.mean()), None, None)
    gaps = list(itertools.pairwise(grid))
    covered = [_covered(low, high, test.window) for low, high in gaps]
    inside_whole = sum(test.window.low <= low and high <= _top(test.window) for low, high in gaps)
    return Severity(math.fsum(covered) / len(gaps), len(gaps), inside_whole)


def expected_hits(plan: SweepPlan, tests: Sequence[PreregTest]) -> float:
    """Most hits to be expected by chance: the sum of the shares, however the tests depend on each other."""
    return math.fsum(severity(plan, test).share for test in tests)


def _covered(low: float, high: float, window: Window) -> float:
    """Part of a gap that lies in the window, in log λ."""
    start, end = max(low, window.low), min(high, _top(window))
    return math.log(end / start) / math.log(high / low) if end > start else 0.0


def _evenly(grid: Sequence[float]) -> FloatArray:
    """[gaps × points] λ of equal chance: the same number in each gap, evenly in log λ."""
    part = (np.arange(_POINTS) + 0.5) / _POINTS
    log = np.log(np.asarray(grid, dtype=np.float64))
    places: FloatArray = np.exp(log[:-1, None] + part[None, :] * np.diff(log)[:, None]).ravel()
    return places


def _top(window: Window) -> float:
    return math.inf if window.high is None else window.high
