"""How far a rate that falls with a dose stays above a bar."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from harness.stats.bounded import mean_interval
from harness.stats.distributions import check_confidence
from harness.stats.estimate import Estimate
from harness.stats.threshold import rate_against_bar


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


def largest_level(
    levels: Sequence[float],
    successes: Sequence[Sequence[int]],
    trials: Sequence[Sequence[int]],
    bar: float,
    confidence: float = 0.95,
) -> LargestLevel:
    """The largest level at which a rate that never rises with the level is at least the bar.

    The curve is the isotonic fit. The limits hold together: each level's interval has its share of the error
    (Bonferroni), and what is known at one level bounds all on its side of it.

    Args:
        levels: [L] ascending.
        successes: [L] by task.
        trials: [L] by task.
        bar: in (0, 1).
        confidence: with which both limits hold, in (0, 1).

    Raises:
        ValueError: levels that don't ascend, lengths that differ, or a bar or confidence out of range.
    """
    from sklearn.isotonic import IsotonicRegression

    check_confidence(confidence)
    if not 0.0 < bar < 1.0 or len(levels) == 0 or not (np.diff(levels) > 0).all():
        raise ValueError(f"bar = {bar!r}, levels = {list(levels)}: a bar in (0, 1) and ascending levels")
    each = 1.0 - (1.0 - confidence) / len(levels)
    estimates = [_rate(np.asarray(k), np.asarray(n), each) for k, n in zip(successes, trials, strict=True)]
    rates = np.array([one.estimate or 0.0 for one in estimates])
    weights = np.array([one.n for one in estimates], dtype=float)
    fit = IsotonicRegression(increasing=False).fit_transform(levels, rates, sample_weight=weights)
    at_least = np.maximum.accumulate(np.array([one.low or 0.0 for one in estimates])[::-1])[::-1]
    at_most = np.minimum.accumulate([1.0 if one.high is None else one.high for one in estimates])
    shown, refuted = np.flatnonzero(at_least >= bar), np.flatnonzero(at_most < bar)
    low = float(levels[shown[-1]]) if len(shown) else None
    high = float(levels[refuted[0]]) if len(refuted) else None
    below = np.flatnonzero(fit < bar)
    if not len(below):
        return LargestLevel(
            None, low, high, f"the curve is above {bar:g} up to the last level, {levels[-1]:g}"
        )
    first = int(below[0])
    if first == 0:
        return LargestLevel(None, low, high, f"the curve is below {bar:g} already at {levels[0]:g}")
    before, after = fit[first - 1], fit[first]
    share = (before - bar) / (before - after)
    return LargestLevel(float(levels[first - 1] + share * (levels[first] - levels[first - 1])), low, high)


def _rate(successes: npt.NDArray[np.int64], trials: npt.NDArray[np.int64], confidence: float) -> Estimate:
    """With an interval each of whose ends misses with at most half of what is left to confidence."""
    if trials.max(initial=0) > 1:
        return mean_interval(successes, trials, confidence=confidence)
    alpha = 0.5 * (1.0 - confidence)
    return rate_against_bar(int(successes.sum()), int(trials.sum()), 0.5, alpha=alpha).estimate
