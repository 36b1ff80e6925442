"""Non-inferiority and equivalence of two runs on the same tasks, with a margin.

"No significant difference" is not evidence of parity; these tests turn the question round and take "worse by
the margin or more" as what must be refuted. The difference is candidate − baseline.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from harness.stats.decision import Decision, check_alpha, decide
from harness.stats.distributions import normal_cdf, normal_quantile
from harness.stats.estimate import Estimate
from harness.stats.paired import PairedCounts
from harness.stats.threshold import MeanTest

_STEPS = 60


def noninferior_rates(counts: PairedCounts, margin: float, *, alpha: float = 0.05) -> Decision:
    """Whether a paired rate is at worst `margin` below the baseline's.

    Score test and interval of Tango, "Equivalence test and confidence interval for the difference in
    proportions for the paired-sample design" (Statistics in Medicine 17, 1998). Asymptotic: with few
    discordant pairs its level is approximate.

    Args:
        counts: the 2 × 2 table of the pairs.
        margin: largest tolerable loss, in [0, 1); 0 asks for no loss at all.
        alpha: level of each of the two one-sided tests, see `Decision`.

    Returns:
        `pass`: refuted that difference < −margin. `fail`: refuted that difference ≥ −margin.

    Raises:
        ValueError: margin or alpha out of range.
    """
    _check(margin, alpha, least=0.0)
    estimate = tango(counts, 1.0 - 2.0 * alpha)
    if counts.n == 0:
        return Decision("undecided", 1.0, 1.0, estimate, alpha)
    z = _tango_z(counts, -margin)
    p_pass, p_fail = normal_cdf(-z), normal_cdf(z)
    return Decision(decide(p_pass, p_fail, alpha), p_pass, p_fail, estimate, alpha)


def equivalent_rates(counts: PairedCounts, margin: float, *, alpha: float = 0.05) -> Decision:
    """Whether two paired rates differ by less than `margin` either way: two one-sided Tango score tests.

    Args:
        counts: the 2 × 2 table of the pairs.
        margin: largest tolerable difference, in (0, 1).
        alpha: level of the tests.

    Returns:
        `pass`: |difference| ≥ margin refuted, at alpha. `fail`: |difference| ≤ margin refuted, at alpha.

    Raises:
        ValueError: margin or alpha out of range.
    """
    _check(margin, alpha)
    estimate = tango(counts, 1.0 - 2.0 * alpha)
    if counts.n == 0:
        return Decision("undecided", 1.0, 1.0, estimate, alpha)
    low, high = _tango_z(counts, -margin), _tango_z(counts, margin)
    p_pass = max(normal_cdf(-low), normal_cdf(high))
    p_fail = min(1.0, 2.0 * min(normal_cdf(low), normal_cdf(-high)))
    return Decision(decide(p_pass, p_fail, alpha), p_pass, p_fail, estimate, alpha)


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
        differences: [T] candidate − baseline, one a task, finite.
        margin: largest tolerable difference, > 0.
        alpha: level of the tests.
        bounds: least and largest possible difference.

    Raises:
        ValueError: differences not finite, margin or alpha out of range.
    """
    values = np.asarray(differences, dtype=np.float64)
    if values.ndim != 1 or not np.isfinite(values).all():
        raise ValueError("differences must be a finite array of shape [tasks]")
    _check(margin, alpha, most=math.inf)
    n = len(values)
    mean = math.fsum(values) / n if n else math.nan
    test = MeanTest(mean, n, math.sqrt(math.fsum((values - mean) ** 2)) / max(n, 1), bounds)
    p_pass = max(test.p_below(-margin), test.p_above(margin))
    p_fail = min(1.0, 2.0 * min(test.p_above(-margin), test.p_below(margin)))
    estimate = Estimate(n, mean if n else None, *test.limits(alpha), "paired t, by task")
    return Decision(decide(p_pass, p_fail, alpha), p_pass, p_fail, estimate, alpha)


def tango(counts: PairedCounts, confidence: float = 0.95) -> Estimate:
    """Tango's score interval of a difference of paired rates: the values that his test doesn't refute."""
    method = "tango paired score"
    z = -normal_quantile((1.0 - confidence) / 2.0)
    if counts.n == 0:
        return Estimate(0, None, None, None, method)
    difference = (counts.candidate_only - counts.baseline_only) / counts.n
    return Estimate(
        counts.n,
        difference,
        _solve(counts, z, outside=-1.0, inside=difference),
        _solve(counts, -z, outside=1.0, inside=difference),
        method,
    )


def _solve(counts: PairedCounts, z: float, *, outside: float, inside: float) -> float:
    """Difference at which the score statistic is z; it falls as the difference grows."""
    for _ in range(_STEPS):
        middle = 0.5 * (outside + inside)
        if abs(_tango_z(counts, middle)) > abs(z):
            outside = middle
        else:
            inside = middle
    return outside


def _tango_z(counts: PairedCounts, difference: float) -> float:
    """Score statistic of "the true difference is this one": positive when the data lie above it."""
    n, gain, loss = counts.n, counts.candidate_only, counts.baseline_only
    excess = gain - loss - n * difference
    linear = -gain - loss + (2 * n - gain + loss) * difference
    constant = -loss * difference * (1.0 - difference)
    root = math.sqrt(max(0.0, linear * linear - 8.0 * n * constant))
    # Larger root of 2n·q² + linear·q + constant, without cancellation: the restricted rate of losses.
    restricted = (root - linear) / (4.0 * n) if linear <= 0.0 else -2.0 * constant / (linear + root)
    variance = n * (2.0 * restricted + difference * (1.0 - difference))
    if variance <= 0.0:
        return 0.0 if excess == 0.0 else math.copysign(math.inf, excess)
    return excess / math.sqrt(variance)


def _check(margin: float, alpha: float, *, least: float | None = None, most: float = 1.0) -> None:
    check_alpha(alpha)
    if not (margin > 0.0 or margin == least) or not margin < most:
        raise ValueError(f"margin is {margin!r}; it must be a tolerable difference between 0 and {most}")
