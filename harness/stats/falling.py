"""A rate that falls with a dose: its curve, and how far it stays above a bar."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from harness.stats.bounded import mean_interval
from harness.stats.distributions import check_confidence
from harness.stats.estimate import Estimate
from harness.stats.threshold import rate_against_bar

FloatArray = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class LargestLevel:
    """Up to which level a falling rate is at least the bar.

    Attributes:
        estimate: where the fitted curve crosses the bar, between two levels; None where it doesn't.
        low: largest level at which the rate is shown to be at least the bar; None where it is at none.
        high: smallest level at which it is shown to be below; None where it is at none.
        reason: why there is no estimate, empty where there is one.
    """

    estimate: float | None
    low: float | None
    high: float | None
    reason: str = ""


@dataclass(frozen=True, slots=True, eq=False)
class FallingCurve:
    """The isotonic fit of a falling rate, with limits that hold together at all levels.

    Attributes:
        levels: [L] ascending.
        fit: [L] never rising, between the limits.
        low: [L] lower limits, never rising.
        high: [L] upper limits, never rising.
        rising: whether the rate is shown to rise somewhere: the limits are then each level's own.
    """

    levels: FloatArray
    fit: FloatArray
    low: FloatArray
    high: FloatArray
    rising: bool

    def largest(self, bar: float) -> LargestLevel:
        """The largest level at which the rate is at least a bar.

        Args:
            bar: in (0, 1).

        Raises:
            ValueError: a bar out of range.
        """
        if not 0.0 < bar < 1.0:
            raise ValueError(f"bar = {bar!r} isn't in (0, 1)")
        # Where the rate is shown to rise, what lies beyond a level that isn't shown to hold is no limit.
        shown, refuted = np.cumprod(self.low >= bar).sum(), np.flatnonzero(self.high < bar)
        low = float(self.levels[shown - 1]) if shown else None
        high = float(self.levels[refuted[0]]) if len(refuted) else None
        below = np.flatnonzero(self.fit < bar)
        if not len(below):
            last = self.levels[-1]
            return LargestLevel(None, low, high, f"the curve is above {bar:g} up to the last level, {last:g}")
        first = int(below[0])
        if first == 0:
            first_level = self.levels[0]
            return LargestLevel(None, low, high, f"the curve is below {bar:g} already at {first_level:g}")
        before, after = self.fit[first - 1], self.fit[first]
        share = (before - bar) / (before - after)
        width = self.levels[first] - self.levels[first - 1]
        return LargestLevel(float(self.levels[first - 1] + share * width), low, high)


def falling_curve(
    levels: Sequence[float],
    successes: Sequence[Sequence[int]],
    trials: Sequence[Sequence[int]],
    confidence: float = 0.95,
    *,
    others: int = 0,
) -> FallingCurve:
    """The curve of a rate that never rises with its level.

    The limits hold together: each level's interval has its share of the error (Bonferroni), and what is known
    at one level bounds all on its side of it.

    Args:
        levels: [L] ascending.
        successes: [L] by task.
        trials: [L] by task.
        confidence: with which all limits hold, in (0, 1).
        others: intervals beside these that share the error.

    Raises:
        ValueError: levels that don't ascend, lengths that differ, or a confidence out of range.
    """
    from sklearn.isotonic import IsotonicRegression

    check_confidence(confidence)
    if len(levels) == 0 or not (np.diff(levels) > 0).all():
        raise ValueError(f"levels = {list(levels)}: they must ascend")
    shared = len(levels) + others
    estimates = [shared_rate(k, n, confidence, shared) for k, n in zip(successes, trials, strict=True)]
    rates = np.array([one.estimate or 0.0 for one in estimates])
    weights = np.array([one.n for one in estimates], dtype=float)
    fit = IsotonicRegression(increasing=False).fit_transform(levels, rates, sample_weight=weights)
    low = np.array([one.low or 0.0 for one in estimates])
    high = np.array([1.0 if one.high is None else one.high for one in estimates])
    at_least, at_most = np.maximum.accumulate(low[::-1])[::-1], np.minimum.accumulate(high)
    rising = bool((at_least > at_most).any())
    if not rising:
        low, high = at_least, at_most
        fit = np.clip(fit, low, high)
    return FallingCurve(np.asarray(levels, dtype=float), fit, low, high, rising)


def shared_rate(successes: Sequence[int], trials: Sequence[int], confidence: float, shared: int) -> Estimate:
    """A rate with one of several intervals that hold together.

    Each end misses with at most half of the interval's share of what is left to confidence.

    Args:
        successes: by task.
        trials: by task.
        confidence: with which all of them hold, in (0, 1).
        shared: number of intervals.
    """
    hits, tries = np.asarray(successes), np.asarray(trials)
    each = 1.0 - (1.0 - confidence) / shared
    if tries.max(initial=0) > 1:
        return mean_interval(hits, tries, confidence=each)
    return rate_against_bar(int(hits.sum()), int(tries.sum()), 0.5, alpha=0.5 * (1.0 - each)).estimate
