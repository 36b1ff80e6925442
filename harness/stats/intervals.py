"""Confidence intervals of a proportion."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from harness.stats.distributions import student_t_quantile, two_sided_z
from harness.stats.estimate import Estimate

Counts = Sequence[int] | npt.NDArray[np.integer]


def wilson(successes: int, n: int, confidence: float = 0.95) -> Estimate:
    """Wilson's score interval of a proportion.

    Wilson, "Probable inference, the law of succession, and statistical inference" (JASA 22, 1927); eq. 4 of
    Brown, Cai & DasGupta (Statistical Science 16, 2001), who recommend it.

    Args:
        successes: how many of the n, 0 ≤ successes ≤ n.
        n: independent observations; 0 gives an `Estimate` without values.
        confidence: two-sided level in (0, 1).

    Raises:
        ValueError: what was passed isn't a pair of counts, or the level is outside (0, 1).
    """
    successes, n = check_counts(successes, n)
    z = two_sided_z(confidence)
    if n == 0:
        return Estimate(0, None, None, None, "wilson")
    low, high = _wilson_limits(successes / n, n, z)
    return Estimate(n, successes / n, low, high, "wilson")


def wilson_clustered(successes_per_task: Counts, n_per_task: Counts, confidence: float = 0.95) -> Estimate:
    """Wilson's interval for several samples a task: samples of one task are alike, so they count for less.

    The interval of `wilson` at the pooled proportion p̂ = Σx/Σn, with n replaced by an effective sample size

        n* = N / deff · (t_{N−1} / t_{T−1})²,
        deff = [T/(T−1) · Σ(x_i − n_i p̂)² / N²] / [p̂(1 − p̂) / (N − 1)]   (at least 1),

    T tasks, N samples: the design effect of Kish, "Survey Sampling" (1965), with the between-cluster variance
    of Rao & Scott, "A simple method for the analysis of clustered binary data" (Biometrics 48, 1992), and
    the degrees-of-freedom factor of Korn & Graubard (Survey Methodology 24, 1998). When every task has one
    sample it is `wilson` exactly.

    Without any failure (or any success) the data are silent on how alike samples of a task are; then they
    count as wholly alike, n* = N²/Σn_i² tasks. For the same reason T tasks never show more than T
    successes of single samples would: the limits stay outside those of "all succeeded" and "all failed",
    so that a first failure can't raise the lower limit.

    Args:
        successes_per_task: [T] successes among each task's samples.
        n_per_task: [T] samples of each task; tasks with 0 are left out.
        confidence: two-sided level in (0, 1).

    Returns:
        An `Estimate` whose `n` is the number of samples.

    Raises:
        ValueError: arrays of different lengths or entries that aren't counts.
    """
    successes, samples = check_count_arrays(successes_per_task, n_per_task)
    z = two_sided_z(confidence)
    n, tasks = int(samples.sum()), len(samples)
    if n == tasks:
        return wilson(int(successes.sum()), n, confidence)
    size = effective_size(successes, samples, confidence)
    p = int(successes.sum()) / n
    low, high = _wilson_limits(p, size.samples, z)
    return Estimate(
        n,
        p,
        min(low, _wilson_limits(1.0, size.tasks, z)[0]),
        max(high, _wilson_limits(0.0, size.tasks, z)[1]),
        "wilson, design effect by task",
    )


def check_counts(successes: int, n: int) -> tuple[int, int]:
    """Return both as int, or raise ValueError unless they are counts with 0 ≤ successes ≤ n."""
    for name, value in (("successes", successes), ("n", n)):
        if isinstance(value, bool | np.bool_) or not isinstance(value, int | np.integer):
            raise ValueError(f"{name} is {value!r}; a count must be an integer")
    if not 0 <= successes <= n:
        raise ValueError(f"successes = {successes} of n = {n}; it must hold that 0 ≤ successes ≤ n")
    return int(successes), int(n)


def check_count_arrays(
    successes_per_task: Counts, n_per_task: Counts
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Return both as integer arrays without the tasks that have no samples, or raise ValueError."""
    successes, samples = np.asarray(successes_per_task), np.asarray(n_per_task)
    if successes.shape != samples.shape or samples.ndim != 1:
        raise ValueError(f"shapes {successes.shape} and {samples.shape}; both must be [tasks]")
    if len(samples) and not all(np.issubdtype(a.dtype, np.integer) for a in (successes, samples)):
        raise ValueError("successes and samples per task must be integers")
    successes, samples = successes.astype(np.int64), samples.astype(np.int64)
    if ((successes < 0) | (successes > samples)).any():
        raise ValueError("for every task it must hold that 0 ≤ successes ≤ samples")
    return successes[samples > 0], samples[samples > 0]


@dataclass(frozen=True, slots=True)
class EffectiveSize:
    """How many independent observations clustered samples are worth.

    Attributes:
        samples: n* of `wilson_clustered`, from the design effect that the data show.
        tasks: n* if samples of one task were wholly alike.
    """

    samples: float
    tasks: float


def effective_size(
    successes: npt.NDArray[np.int64], samples: npt.NDArray[np.int64], confidence: float
) -> EffectiveSize:
    """Effective sample size of `wilson_clustered`, for tasks that all have samples."""
    n, tasks = int(samples.sum()), len(samples)
    if tasks == 1:
        return EffectiveSize(1.0, 1.0)  # nothing shows how tasks differ: one task, one observation
    upper = (1.0 + confidence) / 2.0
    freedom = (student_t_quantile(upper, n - 1) / student_t_quantile(upper, tasks - 1)) ** 2
    alike = n * n / float(samples @ samples) * freedom
    p = int(successes.sum()) / n
    if p in (0.0, 1.0):
        return EffectiveSize(alike, alike)
    between = tasks / (tasks - 1) * _residual_squares(successes, samples) / n**2
    design_effect = max(1.0, between / (p * (1.0 - p) / (n - 1)))
    return EffectiveSize(max(1.0, n / design_effect * freedom), alike)


def _residual_squares(successes: npt.NDArray[np.int64], samples: npt.NDArray[np.int64]) -> float:
    """Σ(x_i − n_i p̂)², from exact integer sums: no rounding that depends on the order of tasks."""
    total, n = int(successes.sum()), int(samples.sum())
    squares = [int(a @ b) for a, b in ((successes, successes), (successes, samples), (samples, samples))]
    return (n * n * squares[0] - 2 * n * total * squares[1] + total * total * squares[2]) / (n * n)


def _wilson_limits(p: float, n: float, z: float) -> tuple[float, float]:
    centre = (p + z * z / (2.0 * n)) / (1.0 + z * z / n)
    half = z / (1.0 + z * z / n) * math.sqrt(p * (1.0 - p) / n + z * z / (4.0 * n * n))
    # At 0 and 1 the limit is exact in algebra but not in floating point.
    return (0.0 if p == 0.0 else max(0.0, centre - half)), (1.0 if p == 1.0 else min(1.0, centre + half))
