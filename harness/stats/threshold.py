"""Fixed-sample tests of a run against a bar."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from harness.stats.decision import Decision, Sense, check_alpha, decide
from harness.stats.distributions import beta_cdf, beta_quantile, student_t_cdf, student_t_quantile
from harness.stats.estimate import Estimate
from harness.stats.intervals import Counts, check_count_arrays, check_counts, effective_size


def rate_against_bar(
    successes: int, n: int, bar: float, *, sense: Sense = ">=", alpha: float = 0.05
) -> Decision:
    """Exact binomial test of a rate against a bar: its errors never exceed alpha.

    Args:
        successes: how many of the n, 0 ≤ successes ≤ n.
        n: independent observations; 0 is undecided.
        bar: in [0, 1].
        sense: whether passing means rate ≥ bar or rate ≤ bar.
        alpha: level of each of the two one-sided tests, see `Decision`.

    Raises:
        ValueError: not counts, or bar or alpha out of range.
    """
    successes, n = check_counts(successes, n)
    return _binomial_decision(successes, n, n, bar, sense, alpha, "clopper-pearson")


def clustered_rate_against_bar(
    successes_per_task: Counts, n_per_task: Counts, bar: float, *, sense: Sense = ">=", alpha: float = 0.05
) -> Decision:
    """The same for several samples a task: the binomial test at the effective sample size.

    Korn & Graubard, "Confidence intervals for proportions with small expected number of positive counts
    estimated from survey data" (Survey Methodology 24, 1998): Clopper and Pearson's formula with n* and
    p̂ · n* in place of the counts. n* and the cap by the number of tasks are those of `wilson_clustered`; with
    one sample a task the test is `rate_against_bar` exactly.

    Raises:
        ValueError: arrays of different lengths, entries that aren't counts, bar or alpha out of range.
    """
    successes, samples = check_count_arrays(successes_per_task, n_per_task)
    check_alpha(alpha)
    x, n = int(successes.sum()), int(samples.sum())
    if n == len(samples):
        return _binomial_decision(x, n, n, bar, sense, alpha, "clopper-pearson")
    size = effective_size(successes, samples, 1.0 - 2.0 * alpha)
    method = "clopper-pearson, design effect by task"
    seen = _binomial_decision(x / n * size.samples, size.samples, n, bar, sense, alpha, method)
    best = _binomial_decision(size.tasks, size.tasks, n, bar, sense, alpha, method)
    worst = _binomial_decision(0.0, size.tasks, n, bar, sense, alpha, method)
    return _no_sharper(seen, best, worst)


def mean_against_bar(
    numerator_per_task: npt.ArrayLike,
    denominator_per_task: npt.ArrayLike,
    bar: float,
    *,
    sense: Sense = ">=",
    alpha: float = 0.05,
    bounds: tuple[float, float] = (0.0, 1.0),
) -> Decision:
    """Student's t test of Σ numerator / Σ denominator with tasks as clusters.

    Variance of the ratio by linearisation, T/(T−1) · Σ(x_t − R̂ m_t)² / M² (Cochran, "Sampling Techniques",
    1977, chapter 6), T − 1 degrees of freedom; with one sample a task it is the one-sample t test. When every
    task has the same value there is no variance to go by, and the exact argument of `bootstrap_ratio` for
    values within `bounds` takes its place.

    Args:
        numerator_per_task: [T] sum of each task's values.
        denominator_per_task: [T] number of its values; tasks with 0 are left out.
        bar: the value to compare with.
        sense: whether passing means mean ≥ bar or mean ≤ bar.
        alpha: level of each of the two one-sided tests, see `Decision`.
        bounds: least and largest value a sample can have.

    Raises:
        ValueError: shapes differ, values not finite, or alpha out of range.
    """
    check_alpha(alpha)
    top = np.asarray(numerator_per_task, dtype=np.float64)
    bottom = np.asarray(denominator_per_task, dtype=np.float64)
    if top.shape != bottom.shape or top.ndim != 1 or not np.isfinite([top, bottom]).all():
        raise ValueError("numerator and denominator must be finite arrays of shape [tasks]")
    top, bottom = top[bottom > 0], bottom[bottom > 0]
    n, tasks = int(bottom.sum()), len(bottom)
    if tasks == 0:
        return Decision("undecided", 1.0, 1.0, Estimate(0, None, None, None, "t, by task"), alpha)
    mean = math.fsum(top) / math.fsum(bottom)
    residual = top - mean * bottom
    test = MeanTest(mean, tasks, math.sqrt(math.fsum(residual**2)) / math.fsum(bottom), bounds)
    below, above = test.p_below(bar), test.p_above(bar)
    p_pass, p_fail = (below, above) if sense == ">=" else (above, below)
    low, high = test.limits(alpha)
    return Decision(
        decide(p_pass, p_fail, alpha), p_pass, p_fail, Estimate(n, mean, low, high, "t, by task"), alpha
    )


class MeanTest:
    """One-sided t tests of a mean of T independent units, exact bounds when they are all equal."""

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


def _no_sharper(seen: Decision, best: Decision, worst: Decision) -> Decision:
    """The decision on what was seen, but no surer than "all succeeded" or "all failed" could make it."""
    p_pass = max(seen.p_pass, min(best.p_pass, worst.p_pass))
    p_fail = max(seen.p_fail, min(best.p_fail, worst.p_fail))
    low, high = (
        pick(value for value in limits if value is not None)
        for pick, limits in (
            (min, (seen.estimate.low, best.estimate.low)),
            (max, (seen.estimate.high, worst.estimate.high)),
        )
    )
    estimate = replace(seen.estimate, low=low, high=high)
    return Decision(decide(p_pass, p_fail, seen.alpha), p_pass, p_fail, estimate, seen.alpha)


def _binomial_decision(
    successes: float, n: float, reported_n: int, bar: float, sense: Sense, alpha: float, method: str
) -> Decision:
    """Decide on counts, which may be fractional effective ones."""
    check_alpha(alpha)
    if not 0.0 <= bar <= 1.0:
        raise ValueError(f"bar is {bar!r}; a rate's bar must lie in [0, 1]")
    if n == 0:
        return Decision("undecided", 1.0, 1.0, Estimate(0, None, None, None, method), alpha)
    failures = n - successes
    # P(X ≥ successes) and P(X ≤ successes) at the bar; each is certain when nothing can be more extreme.
    reach = beta_cdf(bar, successes, failures + 1.0) if successes > 0 else 1.0
    stay = beta_cdf(1.0 - bar, failures, successes + 1.0) if failures > 0 else 1.0
    low = beta_quantile(alpha, successes, failures + 1.0) if successes > 0 else 0.0
    high = 1.0 - beta_quantile(alpha, failures, successes + 1.0) if failures > 0 else 1.0
    # A rate can't be below 0 or above 1, so those requirements hold without data.
    at_least = 0.0 if bar == 0.0 else reach
    at_most = 0.0 if bar == 1.0 else stay
    p_pass, p_fail = (at_least, stay) if sense == ">=" else (at_most, reach)
    estimate = Estimate(reported_n, successes / n, low, high, method)
    return Decision(decide(p_pass, p_fail, alpha), p_pass, p_fail, estimate, alpha)
