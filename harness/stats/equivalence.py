"""Equivalence of two means over a handful of seeds, with a margin.

A sweep has too few seeds for a test that assumes nothing about their distribution: its flatness rests on
Student's t, which is right where differences between seeds are about normal. Means over tasks aren't tested
this way, see `harness.stats.bounded`.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from harness.stats.decision import Decision, check_alpha, decide
from harness.stats.distributions import student_t_cdf, student_t_quantile
from harness.stats.estimate import Estimate


def equivalent_means(
    differences: npt.ArrayLike,
    margin: float,
    *,
    alpha: float = 0.05,
    bounds: tuple[float, float] = (-1.0, 1.0),
) -> Decision:
    """Whether two means differ by less than `margin` either way: TOST, two one-sided paired t tests.

    Schuirmann (Journal of Pharmacokinetics and Biopharmaceutics 15, 1987). `pass` refutes |difference| ≥
    margin; `fail` refutes |difference| ≤ margin, both at alpha.

    Args:
        differences: [S] one a seed, finite.
        margin: largest tolerable difference, > 0.
        alpha: level of the tests.
        bounds: least and largest possible difference.

    Raises:
        ValueError: differences not finite, margin or alpha out of range.
    """
    values = np.asarray(differences, dtype=np.float64)
    if values.ndim != 1 or not np.isfinite(values).all():
        raise ValueError("differences must be a finite array of shape [seeds]")
    check_alpha(alpha)
    if not margin > 0.0:
        raise ValueError(f"margin is {margin!r}; it must be a tolerable difference above 0")
    n = len(values)
    mean = math.fsum(values) / n if n else math.nan
    test = _MeanTest(mean, n, math.sqrt(math.fsum((values - mean) ** 2)) / max(n, 1), bounds)
    p_pass = max(test.p_below(-margin), test.p_above(margin))
    p_fail = min(1.0, 2.0 * min(test.p_above(-margin), test.p_below(margin)))
    estimate = Estimate(n, mean if n else None, *test.limits(alpha), "paired t")
    return Decision(decide(p_pass, p_fail, alpha), p_pass, p_fail, estimate, alpha)


class _MeanTest:
    """One-sided t tests of a mean of independent units, exact bounds when they are all equal."""

    __slots__ = ("bounds", "error", "mean", "units")

    def __init__(self, mean: float, units: int, root: float, bounds: tuple[float, float]) -> None:
        """Take the mean, the number of units, √Σ residual² / weight, and the least and largest value."""
        self.mean, self.units, self.bounds = mean, units, bounds
        scale = max(abs(mean), abs(bounds[0]), abs(bounds[1]))
        constant = units < 2 or root <= 1e-12 * scale
        self.error = 0.0 if constant else root * math.sqrt(units / (units - 1))

    def p_below(self, value: float) -> float:
        """p-value of "the mean is at most `value`"; small when the data lie well above it."""
        return self._p(self.mean - value, self.mean - self.bounds[0])

    def p_above(self, value: float) -> float:
        """p-value of "the mean is at least `value`"; small when the data lie well below it."""
        return self._p(value - self.mean, self.bounds[1] - self.mean)

    def limits(self, alpha: float) -> tuple[float | None, float | None]:
        """The values at which `p_below` and `p_above` are alpha; None when one unit is all there is."""
        if self.units < 2:
            return None, None
        if self.error == 0.0:
            unseen = -math.expm1(math.log(alpha) / self.units)
            low, high = self.bounds
            return self.mean - unseen * (self.mean - low), self.mean + unseen * (high - self.mean)
        half = student_t_quantile(1.0 - alpha, self.units - 1) * self.error
        return self.mean - half, self.mean + half

    def _p(self, distance: float, room: float) -> float:
        if self.units < 2:
            return 1.0
        if self.error > 0.0:
            return student_t_cdf(-distance / self.error, self.units - 1)
        # All units agree. A mean further away by `distance` needs a share distance / room of other values.
        if distance <= 0.0:
            return 1.0
        return 0.0 if distance >= room else (1.0 - distance / room) ** self.units
