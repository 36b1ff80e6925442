"""Tests and intervals of a mean of bounded values that hold at every sample size, near the ends too.

Student's t and the bootstrap are right in the limit only: of 0/1 values near 1 a t test at 5 % errs up to
19 % of the time. Here a bettor doubts "the mean is at most m" for independent values x in [0, 1] and stakes a
fraction f of the capital on each: the capital becomes

    K_f = Π (1 + f · (x_i / m − 1)),    0 ≤ f ≤ 1.

Each factor is nonnegative and, where the mean is at most m, at most 1 on average; so is the product of
independent factors, and the average of K_f over any fractions that were fixed beforehand. By Markov's
inequality that average K exceeds 1/alpha with probability at most alpha: 1/K is a p-value for every n and
every distribution on [0, 1]. Hoeffding (JASA 58, 1963) for the product; Waudby-Smith & Ramdas, "Estimating
means of bounded random variables by betting" (JRSS B 86, 2024) for the bets. The product doesn't depend on
the order of the values, and nothing is drawn at random.

Tasks with unequal numbers of values: "Σ values / Σ numbers is at most m in expectation" says that
E[total − m · count] ≤ 0, and that difference is bounded once the largest possible count is known; the factors
are 1 + f · (total − m · count) / (m · most). A task without a value leaves the capital as it is.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from harness.stats.decision import Decision, Sense, check_alpha, decide
from harness.stats.distributions import check_confidence
from harness.stats.estimate import Estimate
from harness.stats.inversion import lower_limit

METHOD = "betting, by task"

FloatArray = npt.NDArray[np.float64]

_PLANNED = 48
"""Stakes that are tried for planning."""
_REACH = 6.0
"""2 · log(1/alpha) at alpha = 0.05, where the smallest stake is the best for the most scattered values."""


@dataclass(frozen=True, slots=True)
class BoundedMean:
    """Totals and counts of tasks, scaled so that values lie in [0, 1]: distinct rows with multiplicities.

    Attributes:
        total: [D] sum of a task's values, over the largest possible count.
        count: [D] number of its values, likewise.
        tasks: [D] how many tasks say the same.
        units: number of tasks with a value.
        low: least value there can be.
        high: largest.
    """

    total: FloatArray
    count: FloatArray
    tasks: npt.NDArray[np.int64]
    units: int
    low: float
    high: float

    @classmethod
    def of(
        cls,
        numerator_per_task: npt.ArrayLike,
        denominator_per_task: npt.ArrayLike,
        bounds: tuple[float, float],
        most: int | None,
    ) -> BoundedMean:
        """Take the totals [T] and counts [T] of tasks; see `mean_against_bar`."""
        top = np.asarray(numerator_per_task, dtype=np.float64)
        bottom = np.asarray(denominator_per_task, dtype=np.float64)
        if top.shape != bottom.shape or top.ndim != 1 or not np.isfinite([top, bottom]).all():
            raise ValueError("numerator and denominator must be finite arrays of shape [tasks]")
        low, high = bounds
        if not low < high:
            raise ValueError(f"bounds are {bounds!r}; the least value must be below the largest")
        if (bottom < 0).any():
            raise ValueError("a denominator is negative")
        top, bottom = top[bottom > 0], bottom[bottom > 0]
        largest = float(bottom.max(initial=0.0))
        if most is not None and most < largest:
            raise ValueError(f"a task has {largest:g} values and none can have more than {most}")
        limit = largest if most is None else float(most)
        slack = 1e-9 * max(1.0, abs(low), abs(high)) * bottom
        if ((top < low * bottom - slack) | (top > high * bottom + slack)).any():
            raise ValueError(f"a task's values can't all lie in [{low:g}, {high:g}]")
        scaled = np.clip((top - low * bottom) / (high - low), 0.0, bottom)
        rows, tasks = np.unique(np.stack([scaled, bottom]), axis=1, return_counts=True)
        total, count = rows / (limit or 1.0)
        return cls(total, count, tasks.astype(np.int64), len(bottom), low, high)

    @property
    def mean(self) -> float:
        """Σ total / Σ count in the values' own unit; there must be a value."""
        share = math.fsum(self.tasks * self.total) / math.fsum(self.tasks * self.count)
        return self.low + (self.high - self.low) * share

    def p_at_most(self, value: float) -> float:
        """p-value of "the mean is at most `value`"; small where the data lie well above it."""
        return _p_at_most(self.total, self.count, self.tasks, self.units, self._share(value))

    def p_at_least(self, value: float) -> float:
        """p-value of "the mean is at least `value`"; small where the data lie well below it."""
        return _p_at_most(
            self.count - self.total, self.count, self.tasks, self.units, 1.0 - self._share(value)
        )

    def growth(self, value: float) -> float:
        """Log capital of the best single stake in hindsight against `value`, on the side of the estimate.

        For planning: capital that is spread over stakes reaches about as much, less their number's share.
        """
        share, above = self._share(value), self.mean > value
        total, bar = (self.total, share) if above else (self.count - self.total, 1.0 - share)
        if not 0.0 < bar < 1.0:
            return 0.0
        gains = total / bar - self.count
        stakes = np.geomspace(1e-3, 0.999, _PLANNED)
        return max(0.0, *(float(self.tasks @ np.log1p(stake * gains)) for stake in stakes))

    def limits(self, alpha: float, near: float | None = None) -> tuple[float, float]:
        """The least value that `p_at_most` and the largest that `p_at_least` doesn't refute at alpha.

        Args:
            alpha: of each limit.
            near: a value on whose right side the limits must lie, as the tests at that value say.
        """
        share = None if near is None else self._share(near)
        mean = self._share(self.mean)
        low = lower_limit(lambda m: self._refuted(m, alpha, above=True), mean, near=share)
        mirrored = None if share is None else 1.0 - share
        high = lower_limit(lambda m: self._refuted(1.0 - m, alpha, above=False), 1.0 - mean, near=mirrored)
        width = self.high - self.low
        return self.low + width * low, self.high - width * high

    def _refuted(self, share: float, alpha: float, *, above: bool) -> float:
        """log(capital · alpha): 0 or more where the mean is refuted."""
        total = self.total if above else self.count - self.total
        bar = share if above else 1.0 - share
        return _log_capital(total, self.count, self.tasks, self.units, bar) + math.log(alpha)

    def _share(self, value: float) -> float:
        return (value - self.low) / (self.high - self.low)


def mean_against_bar(
    numerator_per_task: npt.ArrayLike,
    denominator_per_task: npt.ArrayLike,
    bar: float,
    *,
    sense: Sense = ">=",
    alpha: float = 0.05,
    bounds: tuple[float, float] = (0.0, 1.0),
    most: int | None = None,
    interval: bool = True,
) -> Decision:
    """Test Σ numerator / Σ denominator against a bar, with tasks as the units that were sampled.

    Its errors never exceed alpha, whatever the distribution of values within `bounds` and of the counts.

    Args:
        numerator_per_task: [T] sum of each task's values.
        denominator_per_task: [T] number of its values; tasks with 0 say nothing.
        bar: the value to compare with.
        sense: whether passing means mean ≥ bar or mean ≤ bar.
        alpha: level of each of the two one-sided tests, see `Decision`.
        bounds: least and largest value that there can be.
        most: largest number of values that a task can have, known from the plan; None takes the largest seen,
            which is the same unless the number of values is itself an outcome.
        interval: whether the limits are wanted as well; without them the test alone is many times faster.

    Raises:
        ValueError: shapes differ, values not finite or outside the bounds, more values than `most`, or alpha
            out of range.
    """
    check_alpha(alpha)
    units = BoundedMean.of(numerator_per_task, denominator_per_task, bounds, most)
    n = round(float(np.asarray(denominator_per_task, dtype=np.float64).sum()))
    if not units.units:
        return Decision("undecided", 1.0, 1.0, Estimate(0, None, None, None, METHOD), alpha)
    at_most, at_least = units.p_at_most(bar), units.p_at_least(bar)
    # A mean can't lie outside its bounds, so those requirements hold without data.
    p_pass, p_fail = (
        (0.0 if bar <= bounds[0] else at_most, at_least)
        if sense == ">="
        else (0.0 if bar >= bounds[1] else at_least, at_most)
    )
    low, high = units.limits(alpha, near=bar) if interval else (None, None)
    estimate = Estimate(n, units.mean, low, high, METHOD)
    return Decision(decide(p_pass, p_fail, alpha), p_pass, p_fail, estimate, alpha)


def betting_growth(
    numerator_per_task: npt.ArrayLike,
    denominator_per_task: npt.ArrayLike,
    bar: float,
    *,
    bounds: tuple[float, float] = (0.0, 1.0),
    most: int | None = None,
) -> float:
    """Log capital of the best single stake in hindsight against a bar, on the side of the estimate.

    No evidence, since it was chosen with the data; for planning: it grows in proportion to the tasks, and
    capital spread over stakes that were fixed beforehand reaches about as much, less the log of their number.

    Args:
        numerator_per_task: see `mean_against_bar`.
        denominator_per_task: see there.
        bar: the value to compare with.
        bounds: least and largest value that there can be.
        most: see there.

    Returns:
        0 or more; 0 where the estimate is at the bar or nothing can be bet.
    """
    units = BoundedMean.of(numerator_per_task, denominator_per_task, bounds, most)
    return units.growth(bar) if units.units else 0.0


def mean_interval(
    numerator_per_task: npt.ArrayLike,
    denominator_per_task: npt.ArrayLike,
    *,
    confidence: float = 0.95,
    bounds: tuple[float, float] = (0.0, 1.0),
    most: int | None = None,
) -> Estimate:
    """Interval of Σ numerator / Σ denominator: the means that `mean_against_bar` doesn't refute.

    Each end misses with probability at most (1 − confidence) / 2, and neither leaves the bounds.

    Args:
        numerator_per_task: [T] sum of each task's values.
        denominator_per_task: [T] number of its values; tasks with 0 say nothing.
        confidence: two-sided level in (0, 1).
        bounds: least and largest value that there can be.
        most: see `mean_against_bar`.

    Returns:
        An `Estimate` whose `n` is the number of values.

    Raises:
        ValueError: as `mean_against_bar`, or confidence out of range.
    """
    check_confidence(confidence)
    units = BoundedMean.of(numerator_per_task, denominator_per_task, bounds, most)
    if not units.units:
        return Estimate(0, None, None, None, METHOD)
    n = round(float(np.asarray(denominator_per_task, dtype=np.float64).sum()))
    return Estimate(n, units.mean, *units.limits(0.5 * (1.0 - confidence)), METHOD)


def bounded_equivalence(
    differences: npt.ArrayLike,
    margin: float,
    *,
    alpha: float = 0.05,
    bounds: tuple[float, float] = (-1.0, 1.0),
) -> Decision:
    """Whether a mean difference is less than `margin` either way: two one-sided tests that keep their level.

    Schuirmann (Journal of Pharmacokinetics and Biopharmaceutics 15, 1987), with the tests of
    `mean_against_bar`. `pass` refutes |difference| ≥ margin, `fail` refutes |difference| ≤ margin, both at
    alpha.

    Args:
        differences: [T] candidate − baseline, one a task, within the bounds.
        margin: largest tolerable difference, > 0.
        alpha: level of the tests.
        bounds: least and largest possible difference.

    Raises:
        ValueError: differences not finite or outside the bounds, margin or alpha out of range.
    """
    check_alpha(alpha)
    if not margin > 0.0:
        raise ValueError(f"margin is {margin!r}; it must be a tolerable difference above 0")
    values = np.asarray(differences, dtype=np.float64)
    units = BoundedMean.of(values, np.ones(len(values)), bounds, 1)
    if not units.units:
        return Decision("undecided", 1.0, 1.0, Estimate(0, None, None, None, METHOD), alpha)
    p_pass = max(units.p_at_most(-margin), units.p_at_least(margin))
    p_fail = min(1.0, 2.0 * min(units.p_at_least(-margin), units.p_at_most(margin)))
    estimate = Estimate(units.units, units.mean, *units.limits(alpha), METHOD)
    return Decision(decide(p_pass, p_fail, alpha), p_pass, p_fail, estimate, alpha)


def _p_at_most(
    total: FloatArray, count: FloatArray, tasks: npt.NDArray[np.int64], units: int, bar: float
) -> float:
    return math.exp(min(0.0, -_log_capital(total, count, tasks, units, bar)))


def _log_capital(
    total: FloatArray, count: FloatArray, tasks: npt.NDArray[np.int64], units: int, bar: float
) -> float:
    """Log of the capital staked against "the mean is at most `bar`", values in [0, 1]."""
    if bar >= 1.0 or not units:
        return 0.0  # no mean is larger than that: nothing to bet on
    if bar <= 0.0:
        # Refuted by any value above it, and a mean below 0 by every value.
        return math.inf if bar < 0.0 or bool((total > 0.0).any()) else 0.0
    gains = total / bar - count
    logs = np.empty(len(fractions := _fractions(units, bar)))
    with np.errstate(divide="ignore"):  # a stake of everything that is lost
        for place, fraction in enumerate(fractions):
            logs[place] = tasks @ np.log1p(np.maximum(fraction * gains, -1.0))
    peak = float(logs.max())
    if peak == -math.inf:
        return -math.inf
    return peak + math.log(float(np.exp(logs - peak).mean()))


def _fractions(units: int, bar: float) -> FloatArray:
    """Stakes that share the capital equally, on a logarithmic scale up to everything.

    The best stake against a bar for values that scatter by s is about √(2 log(1/alpha) / units) / s · bar; no
    values scatter more than 0/1 values do, so smaller stakes than theirs aren't needed.
    """
    least = min(1.0, math.sqrt(_REACH * bar / ((1.0 - bar) * units)))
    return np.geomspace(least, 1.0, 2 + math.ceil(0.5 * math.log2(units + 1)))
