"""Non-inferiority and equivalence of two rates on the same tasks, exact at every number of pairs.

"No significant difference" is not evidence of parity; these tests turn the question round and take "worse by
the margin or more" as what must be refuted. The difference is candidate − baseline.

Tables of pairs are ordered by the score statistic of Tango, "Equivalence test and confidence interval for the
difference in proportions for the paired-sample design" (Statistics in Medicine 17, 1998). Its normal
approximation errs up to 7 % of the time for 5, so the p-value is the statistic's exact tail probability at
the worst rate of losses there can be: Hsueh, Liu & Chen, "Unconditional exact tests for equivalence or
noninferiority for paired binary endpoints" (Biometrics 57, 2001). Rates of losses that the data all but
exclude aren't searched, at the price of that exclusion's own error: Berger & Boos (JASA 89, 1994).
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from harness.stats.decision import Decision, check_alpha, decide
from harness.stats.distributions import beta_quantile
from harness.stats.estimate import Estimate
from harness.stats.inversion import lower_limit
from harness.stats.paired import PairedCounts

METHOD = "paired score, exact"

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]

_EXCLUSION = 1e-6
"""Probability of excluding the true rate of losses; p-values are never smaller."""
_RATES = 48
"""Rates of losses that are tried over the whole range, and again round the worst of them."""
_MANY = 5000
"""Pairs beyond which the tail hardly varies with the rate of losses, and fewer of them are tried."""
_TAILS = 9.0
"""Standard deviations within which outcomes are added up."""
_WIDTH = 1e-6
_TIES = 1e-9


def noninferior_rates(
    counts: PairedCounts, margin: float, *, alpha: float = 0.05, interval: bool = True
) -> Decision:
    """Whether a paired rate is at worst `margin` below the baseline's.

    Args:
        counts: the 2 × 2 table of the pairs.
        margin: largest tolerable loss, in [−1, 1]; 0 asks for no loss at all, less than 0 for a gain.
        alpha: level of each of the two one-sided tests, see `Decision`.
        interval: whether the limits are wanted as well; without them the test alone is many times faster.

    Returns:
        `pass`: refuted that difference < −margin. `fail`: refuted that difference ≥ −margin.

    Raises:
        ValueError: margin or alpha out of range.
    """
    check_alpha(alpha)
    if not -1.0 <= margin <= 1.0:
        raise ValueError(f"margin is {margin!r}; it must be a tolerable difference between -1 and 1")
    if counts.n == 0:
        return Decision("undecided", 1.0, 1.0, Estimate(0, None, None, None, METHOD), alpha)
    p_pass, p_fail = p_at_most(counts, -margin), p_at_least(counts, -margin)
    estimate = _estimate(counts, alpha, -margin, interval)
    return Decision(decide(p_pass, p_fail, alpha), p_pass, p_fail, estimate, alpha)


def equivalent_rates(
    counts: PairedCounts, margin: float, *, alpha: float = 0.05, interval: bool = True
) -> Decision:
    """Whether two paired rates differ by less than `margin` either way: two one-sided exact tests.

    Args:
        counts: the 2 × 2 table of the pairs.
        margin: largest tolerable difference, in (0, 1).
        alpha: level of the tests.
        interval: see `noninferior_rates`.

    Returns:
        `pass`: |difference| ≥ margin refuted, at alpha. `fail`: |difference| ≤ margin refuted, at alpha.

    Raises:
        ValueError: margin or alpha out of range.
    """
    check_alpha(alpha)
    if not 0.0 < margin < 1.0:
        raise ValueError(f"margin is {margin!r}; it must be a tolerable difference between 0 and 1")
    if counts.n == 0:
        return Decision("undecided", 1.0, 1.0, Estimate(0, None, None, None, METHOD), alpha)
    p_pass = max(p_at_most(counts, -margin), p_at_least(counts, margin))
    p_fail = min(1.0, 2.0 * min(p_at_least(counts, -margin), p_at_most(counts, margin)))
    estimate = _estimate(counts, alpha, None, interval)
    return Decision(decide(p_pass, p_fail, alpha), p_pass, p_fail, estimate, alpha)


def rate_difference(counts: PairedCounts, confidence: float = 0.95, *, near: float | None = None) -> Estimate:
    """The differences that the exact tests don't refute, each end missing with at most (1 − confidence) / 2.

    Args:
        counts: the 2 × 2 table of the pairs.
        confidence: two-sided level in (0, 1).
        near: a difference on whose right side the limits must lie, as the tests at that value say.
    """
    if counts.n == 0:
        return Estimate(0, None, None, None, METHOD)
    level = 0.5 * (1.0 - confidence)
    low = _lower_limit(counts, level, near)
    high = -_lower_limit(_swapped(counts), level, None if near is None else -near)
    return Estimate(counts.n, _difference(counts), low, high, METHOD)


def _estimate(counts: PairedCounts, alpha: float, near: float | None, interval: bool) -> Estimate:
    if interval:
        return rate_difference(counts, 1.0 - 2.0 * alpha, near=near)
    return Estimate(counts.n, _difference(counts), None, None, METHOD)


def p_at_most(counts: PairedCounts, difference: float) -> float:
    """p-value of "the difference is at most this one"; small where the candidate did better than that."""
    n = counts.n
    if difference >= 1.0 or n == 0:
        return 1.0
    if difference <= -1.0:
        return 0.0 if difference < -1.0 or counts.baseline_only < n else 1.0
    gain, loss = np.array([counts.candidate_only]), np.array([counts.baseline_only])
    reach = float(_score(n, gain, loss, difference)[0])
    low, high = _plausible_losses(counts, difference)
    first, last = _gains(n, low + difference)[0], _gains(n, high + difference)[1]
    losses = _most_losses(n, np.arange(first, last + 1), difference, reach - _TIES * max(1.0, abs(reach)))
    worst, tried = 0.0, _RATES if n <= _MANY else _RATES // 4
    for _ in range(2):
        rates = np.sin(np.linspace(math.asin(math.sqrt(low)), math.asin(math.sqrt(high)), tried)) ** 2
        chances = [_tail(n, first, losses, float(rate), difference) for rate in rates]
        place = int(np.argmax(chances))
        worst = max(worst, chances[place])
        low, high = float(rates[max(0, place - 1)]), float(rates[min(tried - 1, place + 1)])
    return min(1.0, worst + _EXCLUSION)


def p_at_least(counts: PairedCounts, difference: float) -> float:
    """p-value of "the difference is at least this one"; small where the candidate did worse than that."""
    return p_at_most(_swapped(counts), -difference)


def _difference(counts: PairedCounts) -> float:
    return (counts.candidate_only - counts.baseline_only) / counts.n


def _swapped(counts: PairedCounts) -> PairedCounts:
    return PairedCounts(counts.both, counts.baseline_only, counts.candidate_only, counts.neither)


def _score(n: int, gain: IntArray, loss: IntArray, difference: float) -> FloatArray:
    """Tango's statistic of "the true difference is this one": positive where the data lie above it."""
    excess = gain - loss - n * difference
    linear = -gain - loss + (2 * n - gain + loss) * difference
    constant = -loss * difference * (1.0 - difference)
    root = np.sqrt(np.maximum(0.0, linear * linear - 8.0 * n * constant))
    with np.errstate(divide="ignore", invalid="ignore"):
        # Larger root of 2n·q² + linear·q + constant, without cancellation: the restricted rate of losses.
        restricted = np.where(linear <= 0.0, (root - linear) / (4.0 * n), -2.0 * constant / (linear + root))
        variance = n * (2.0 * restricted + difference * (1.0 - difference))
        score = excess / np.sqrt(np.maximum(variance, 0.0))
    return np.where(variance > 0.0, score, np.where(excess == 0.0, 0.0, np.copysign(np.inf, excess)))


def _gains(n: int, rate: float) -> tuple[int, int]:
    """Numbers of gains between which all but a vanishing share of tables lies, at this rate of gains."""
    rate = min(1.0, max(0.0, rate))
    reach = _TAILS * math.sqrt(n * rate * (1.0 - rate)) + 10.0
    return max(0, math.floor(n * rate - reach)), min(n, math.ceil(n * rate + reach))


def _most_losses(n: int, gain: IntArray, difference: float, reach: float) -> IntArray:
    """[G] the most losses with which the statistic still reaches so far, for so many gains; −1: none."""
    low, high = np.full(len(gain), -1), n - gain
    while (low < high).any():
        middle = (low + high + 1) // 2
        far = _score(n, gain, np.maximum(middle, 0), difference) >= reach
        low, high = np.where(far, middle, low), np.where(far, high, middle - 1)
    return low


def _plausible_losses(counts: PairedCounts, difference: float) -> tuple[float, float]:
    """Rates of losses that aren't excluded by their number and leave room for gains at this difference."""
    n, loss = counts.n, counts.baseline_only
    least = beta_quantile(0.5 * _EXCLUSION, loss, n - loss + 1.0) if loss else 0.0
    most = 1.0 - beta_quantile(0.5 * _EXCLUSION, n - loss, loss + 1.0) if loss < n else 1.0
    floor, ceiling = max(0.0, -difference), 0.5 * (1.0 - difference)
    return min(max(least, floor), ceiling), max(min(most, ceiling), floor)


def _tail(n: int, start: int, losses: IntArray, rate: float, difference: float) -> float:
    """Probability of tables with at most so many losses for `start`, … gains, at this rate of losses."""
    from scipy.special import bdtr, gammaln, xlog1py, xlogy

    gains = min(1.0, max(0.0, rate + difference))
    first, last = _gains(n, gains)
    gain = np.arange(max(first, start), min(last, start + len(losses) - 1) + 1)
    log_pmf = gammaln(n + 1) - gammaln(gain + 1) - gammaln(n - gain + 1)
    pmf = np.exp(log_pmf + xlogy(gain, gains) + xlog1py(n - gain, -gains))
    share = min(1.0, rate / (1.0 - gains)) if gains < 1.0 else 0.0
    most = losses[gain - start]
    below = np.where(most >= n - gain, 1.0, bdtr(np.maximum(most, 0), n - gain, share))
    return float(pmf @ np.where(most < 0, 0.0, below))


def _lower_limit(counts: PairedCounts, level: float, near: float | None) -> float:
    """The difference below the estimate at which its test stops refuting at this level."""

    def refuted(difference: float) -> float:
        return math.log(level) - math.log(max(p_at_most(counts, difference), 1e-300))

    return lower_limit(refuted, _difference(counts), least=-1.0, near=near, width=_WIDTH)
