"""Comparison of two runs on the same tasks.

Everywhere the difference is candidate − baseline and the unit is the task. Unpaired tests on such data throw
away most of their power and none of their assumptions hold.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from harness.stats.bounded import mean_interval
from harness.stats.distributions import binomial_cdf, two_sided_z
from harness.stats.estimate import Estimate
from harness.stats.intervals import check_counts, wilson
from harness.stats.permutation import sign_flip


@dataclass(frozen=True, slots=True)
class PairedCounts:
    """How often candidate and baseline succeeded on the same n pairs.

    Attributes:
        both: pairs on which both succeeded.
        candidate_only: pairs on which only the candidate did.
        baseline_only: pairs on which only the baseline did.
        neither: pairs on which neither did.
    """

    both: int
    candidate_only: int
    baseline_only: int
    neither: int

    def __post_init__(self) -> None:
        """Refuse what isn't counts."""
        for count in (self.both, self.candidate_only, self.baseline_only, self.neither):
            check_counts(count, count)

    @property
    def n(self) -> int:
        """Number of pairs."""
        return self.both + self.candidate_only + self.baseline_only + self.neither

    @classmethod
    def from_outcomes(cls, baseline: npt.NDArray[np.bool_], candidate: npt.NDArray[np.bool_]) -> PairedCounts:
        """Count from two boolean arrays [n] in the same order of pairs."""
        if baseline.shape != candidate.shape or baseline.dtype != bool or candidate.dtype != bool:
            raise ValueError("baseline and candidate must be boolean arrays of the same shape")
        return cls(
            int((baseline & candidate).sum()),
            int((~baseline & candidate).sum()),
            int((baseline & ~candidate).sum()),
            int((~baseline & ~candidate).sum()),
        )


@dataclass(frozen=True, slots=True)
class PairedComparison:
    """Result of a paired test of no difference.

    Attributes:
        difference: candidate − baseline, with its interval; `n` is the number of complete pairs.
        p_value: two-sided, of "no difference"; None without pairs.
        dropped: pairs left out because one side is missing.
        test: how the p-value was made.
    """

    difference: Estimate
    p_value: float | None
    dropped: int
    test: str


def mcnemar(candidate_only: int, baseline_only: int) -> float:
    """Exact McNemar test: two-sided p-value of the discordant pairs under Binomial(n, ½).

    McNemar (Psychometrika 12, 1947) in its exact conditional form.

    Args:
        candidate_only: pairs on which only the candidate succeeded.
        baseline_only: pairs on which only the baseline did.

    Raises:
        ValueError: not counts.
    """
    total = candidate_only + baseline_only
    check_counts(candidate_only, total)
    check_counts(baseline_only, total)
    return min(1.0, 2.0 * binomial_cdf(min(candidate_only, baseline_only), total, 0.5))


def newcombe_paired(counts: PairedCounts, confidence: float = 0.95) -> Estimate:
    """Interval of a difference of paired rates from the Wilson limits of each.

    Method 10 of Newcombe, "Improved confidence intervals for the difference between binomial proportions
    based on paired data" (Statistics in Medicine 17, 1998): the squared distances to the limits are added,
    less twice their product times the correlation, which is shrunk by a continuity correction.

    Args:
        counts: the 2 × 2 table.
        confidence: two-sided level in (0, 1).
    """
    n, method = counts.n, "newcombe paired"
    two_sided_z(confidence)
    if n == 0:
        return Estimate(0, None, None, None, method)
    candidate = wilson(counts.both + counts.candidate_only, n, confidence)
    baseline = wilson(counts.both + counts.baseline_only, n, confidence)
    down_c, up_c = _distances(candidate)
    down_b, up_b = _distances(baseline)
    phi = _correlation(counts)
    difference = (counts.candidate_only - counts.baseline_only) / n
    low = difference - math.sqrt(max(0.0, down_c**2 - 2.0 * phi * down_c * up_b + up_b**2))
    high = difference + math.sqrt(max(0.0, up_c**2 - 2.0 * phi * up_c * down_b + down_b**2))
    return Estimate(n, difference, max(-1.0, low), min(1.0, high), method)


def compare_outcomes(counts: PairedCounts, *, confidence: float = 0.95) -> PairedComparison:
    """Compare two rates when every task has one sample in each run: McNemar's test, Newcombe's interval."""
    return PairedComparison(
        difference=newcombe_paired(counts, confidence),
        p_value=mcnemar(counts.candidate_only, counts.baseline_only) if counts.n else None,
        dropped=0,
        test="mcnemar exact",
    )


def compare_means(
    baseline: npt.ArrayLike,
    candidate: npt.ArrayLike,
    *,
    seed: int,
    confidence: float = 0.95,
    permutations: int = 9999,
    bounds: tuple[float, float] = (-1.0, 1.0),
) -> PairedComparison:
    """Compare two runs by one number a task: a score, or the mean or rate over its samples.

    Sign-flip permutation test of the mean of task differences, and the interval of `mean_interval`. Tasks
    count equally, however many samples they have. The p-value is of "it makes no difference which run is
    which": a task's difference is as likely d as −d. The interval is of the mean difference and assumes
    nothing but the bounds, so it is the more cautious of the two.

    Args:
        baseline: [T] one value a task, NaN where it is missing.
        candidate: [T] the same tasks in the same order.
        seed: of the permutations.
        confidence: two-sided level in (0, 1).
        permutations: Monte Carlo sign flips where there are too many tasks to go through all of them.
        bounds: least and largest possible difference.

    Raises:
        ValueError: arrays of different shapes, or an infinite value.
    """
    differences, dropped = paired_differences(baseline, candidate)
    n = len(differences)
    interval = mean_interval(differences, np.ones(n), confidence=confidence, bounds=bounds, most=1)
    flips = sign_flip(differences, seed=seed, draws=permutations)
    return PairedComparison(
        difference=interval,
        p_value=flips.p_value if n else None,
        dropped=dropped,
        test=flips.method,
    )


def paired_differences(
    baseline: npt.ArrayLike, candidate: npt.ArrayLike
) -> tuple[npt.NDArray[np.float64], int]:
    """Candidate − baseline on the tasks where both have a value, and how many tasks were left out.

    Raises:
        ValueError: arrays of different shapes, or an infinite value.
    """
    first = np.asarray(baseline, dtype=np.float64)
    second = np.asarray(candidate, dtype=np.float64)
    if first.shape != second.shape or first.ndim != 1:
        raise ValueError(f"shapes {first.shape} and {second.shape}; both must be [tasks] in the same order")
    if np.isinf(first).any() or np.isinf(second).any():
        raise ValueError("a value is infinite")
    complete = ~(np.isnan(first) | np.isnan(second))
    return second[complete] - first[complete], int((~complete).sum())


def _distances(rate: Estimate) -> tuple[float, float]:
    if rate.estimate is None or rate.low is None or rate.high is None:
        raise ValueError("a rate without observations has no limits")
    return rate.estimate - rate.low, rate.high - rate.estimate


def _correlation(counts: PairedCounts) -> float:
    """Newcombe's φ̂: 0 when a margin is empty."""
    a, b, c, d = counts.both, counts.candidate_only, counts.baseline_only, counts.neither
    margins = (a + b) * (c + d) * (a + c) * (b + d)
    if margins == 0:
        return 0.0
    covariance = float(a * d - b * c)
    if covariance > 0.0:
        covariance = max(0.0, covariance - counts.n / 2.0)
    return covariance / math.sqrt(margins)
