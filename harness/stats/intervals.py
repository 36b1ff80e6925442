"""Confidence intervals of a proportion."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from harness.stats.bounded import mean_interval
from harness.stats.distributions import two_sided_z
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


def rate_by_task(
    successes_per_task: Counts, n_per_task: Counts, confidence: float = 0.95, *, most: int | None = None
) -> Estimate:
    """Interval of a rate over samples of tasks: samples of one task are alike, so tasks are the units.

    With one sample a task it is Wilson's. With several it is that of `mean_interval`, which holds however
    alike they are and however unequal their numbers.

    Args:
        successes_per_task: [T] successes among each task's samples.
        n_per_task: [T] samples of each task; tasks with 0 are left out.
        confidence: two-sided level in (0, 1).
        most: largest number of samples that a task can have, see `mean_against_bar`.

    Returns:
        An `Estimate` whose `n` is the number of samples.

    Raises:
        ValueError: arrays of different lengths or entries that aren't counts.
    """
    successes, samples = np.asarray(successes_per_task), np.asarray(n_per_task)
    if successes.shape != samples.shape or samples.ndim != 1:
        raise ValueError(f"shapes {successes.shape} and {samples.shape}; both must be [tasks]")
    if len(samples) and not all(np.issubdtype(a.dtype, np.integer) for a in (successes, samples)):
        raise ValueError("successes and samples per task must be integers")
    if ((successes < 0) | (successes > samples)).any():
        raise ValueError("for every task it must hold that 0 ≤ successes ≤ samples")
    if max(most or 0, int(samples.max(initial=0))) <= 1:
        return wilson(int(successes.sum()), int(samples.sum()), confidence)
    return mean_interval(successes, samples, confidence=confidence, most=most)


def check_counts(successes: int, n: int) -> tuple[int, int]:
    """Return both as int, or raise ValueError unless they are counts with 0 ≤ successes ≤ n."""
    for name, value in (("successes", successes), ("n", n)):
        if isinstance(value, bool | np.bool_) or not isinstance(value, int | np.integer):
            raise ValueError(f"{name} is {value!r}; a count must be an integer")
    if not 0 <= successes <= n:
        raise ValueError(f"successes = {successes} of n = {n}; it must hold that 0 ≤ successes ≤ n")
    return int(successes), int(n)


def _wilson_limits(p: float, n: float, z: float) -> tuple[float, float]:
    centre = (p + z * z / (2.0 * n)) / (1.0 + z * z / n)
    half = z / (1.0 + z * z / n) * math.sqrt(p * (1.0 - p) / n + z * z / (4.0 * n * n))
    # At 0 and 1 the limit is exact in algebra but not in floating point.
    return (0.0 if p == 0.0 else max(0.0, centre - half)), (1.0 if p == 1.0 else min(1.0, centre + half))
