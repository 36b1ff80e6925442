"""How many samples a bar needs, and what a number of samples can answer.

Normal approximations with the variance under the null and under the alternative kept apart (Fleiss, Levin &
Paik, "Statistical Methods for Rates and Proportions", 2003), except where named exact.
"""

from __future__ import annotations

import math

from harness.stats.distributions import binomial_sf, normal_quantile


def sample_size_proportion(bar: float, true: float, *, alpha: float = 0.05, power: float = 0.8) -> int:
    """Samples needed to tell a rate of `true` from `bar`.

    Args:
        bar: rate under the null, in (0, 1).
        true: rate that should be detected, in [0, 1] and different from bar.
        alpha: level of the one-sided test.
        power: wanted probability of detecting it, in (alpha, 1).

    Raises:
        ValueError: a value out of range, or true equal to bar.
    """
    _check(alpha, power)
    _check_bar(bar)
    if not 0.0 <= true <= 1.0 or true == bar:
        raise ValueError(f"true is {true!r}; it must lie in [0, 1] and differ from the bar {bar!r}")
    null, alternative = math.sqrt(bar * (1.0 - bar)), math.sqrt(true * (1.0 - true))
    root = (-normal_quantile(alpha) * null - normal_quantile(1.0 - power) * alternative) / abs(true - bar)
    return max(1, math.ceil(root**2))


def exact_power_proportion(n: int, bar: float, true: float, *, alpha: float = 0.05) -> float:
    """Exact power of the one-sided binomial test of `rate_against_bar` at n samples.

    Args:
        n: samples, ≥ 1.
        bar: rate under the null, in (0, 1).
        true: actual rate; above the bar the test looks for `pass`, below it for `fail`.
        alpha: level of the one-sided test.

    Raises:
        ValueError: a value out of range.
    """
    _check(alpha)
    _check_bar(bar)
    if n < 1 or not 0.0 <= true <= 1.0:
        raise ValueError(f"n = {n}, true = {true!r}: n must be ≥ 1 and true in [0, 1]")
    if true < bar:
        return exact_power_proportion(n, 1.0 - bar, 1.0 - true, alpha=alpha)
    # Least number of successes whose upper tail at the bar is at most alpha.
    low, high = 0, n + 1
    while low < high:
        middle = (low + high) // 2
        if binomial_sf(middle - 1, n, bar) <= alpha:
            high = middle
        else:
            low = middle + 1
    return binomial_sf(low - 1, n, true)


def _check(alpha: float, power: float | None = None) -> None:
    if not 0.0 < alpha < 1.0:
        raise ValueError(f"alpha is {alpha!r}; it must lie strictly between 0 and 1")
    if power is not None and not alpha < power < 1.0:
        raise ValueError(f"power is {power!r}; it must lie between alpha = {alpha!r} and 1")


def _check_bar(bar: float) -> None:
    if not 0.0 < bar < 1.0:
        raise ValueError(f"bar is {bar!r}; it must lie strictly between 0 and 1")
