"""How many samples a question needs, and what a number of samples can answer.

Normal approximations with the variance under the null and under the alternative kept apart (Fleiss, Levin &
Paik, "Statistical Methods for Rates and Proportions", 2003), except where named exact.
"""

from __future__ import annotations

import math

from harness.stats.distributions import binomial_sf, normal_cdf, normal_quantile

_STEPS = 100


def sample_size_proportion(
    bar: float, true: float, *, alpha: float = 0.05, power: float = 0.8, two_sided: bool = False
) -> int:
    """Samples needed to tell a rate of `true` from `bar`.

    Args:
        bar: rate under the null, in (0, 1).
        true: rate that should be detected, in [0, 1] and different from bar.
        alpha: level of the test; halved when two-sided.
        power: wanted probability of detecting it, in (alpha, 1).
        two_sided: whether both directions are tested.

    Raises:
        ValueError: a value out of range, or true equal to bar.
    """
    _check(alpha, power)
    _check_bar(bar)
    if not 0.0 <= true <= 1.0 or true == bar:
        raise ValueError(f"true is {true!r}; it must lie in [0, 1] and differ from the bar {bar!r}")
    null, alternative = math.sqrt(bar * (1.0 - bar)), math.sqrt(true * (1.0 - true))
    root = (_z(alpha, two_sided) * null - normal_quantile(1.0 - power) * alternative) / abs(true - bar)
    return max(1, math.ceil(root**2))


def detectable_proportion(
    bar: float,
    n: int,
    *,
    alpha: float = 0.05,
    power: float = 0.8,
    two_sided: bool = False,
    above: bool = True,
) -> float | None:
    """Rate nearest to the bar that n samples tell from it with this power; None when no rate is far enough.

    Args:
        bar: rate under the null, in (0, 1).
        n: samples, ≥ 1.
        alpha: level of the test; halved when two-sided.
        power: wanted probability of detecting it, in (alpha, 1).
        two_sided: whether both directions are tested.
        above: whether to look above the bar or below it.

    Raises:
        ValueError: a value out of range.
    """
    _check(alpha, power)
    _check_bar(bar)
    if n < 1:
        raise ValueError(f"n is {n}; at least one sample is needed")
    near, far = bar, 1.0 if above else 0.0
    if sample_size_proportion(bar, far, alpha=alpha, power=power, two_sided=two_sided) > n:
        return None
    for _ in range(_STEPS):
        middle = 0.5 * (near + far)
        if middle in (near, far):
            break
        if sample_size_proportion(bar, middle, alpha=alpha, power=power, two_sided=two_sided) > n:
            near = middle
        else:
            far = middle
    return far


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


def sample_size_paired(
    spread: float, effect: float, *, alpha: float = 0.05, power: float = 0.8, two_sided: bool = True
) -> int:
    """Tasks needed to detect a mean paired difference, or to show non-inferiority.

    For non-inferiority or against a margin take as effect the distance between the expected difference and
    the margin, one-sided. For paired rates `paired_rate_spread` gives the spread.

    Args:
        spread: standard deviation of the task differences, > 0.
        effect: difference to detect, not 0.
        alpha: level of the test; halved when two-sided.
        power: wanted probability of detecting it, in (alpha, 1).
        two_sided: whether both directions are tested.

    Raises:
        ValueError: a value out of range.
    """
    _check(alpha, power)
    if not (spread > 0.0 and math.isfinite(spread)) or effect == 0.0 or not math.isfinite(effect):
        raise ValueError(f"spread = {spread!r}, effect = {effect!r}: spread must be > 0 and effect not 0")
    root = (_z(alpha, two_sided) + normal_quantile(power)) * spread / abs(effect)
    return max(1, math.ceil(root**2))


def detectable_paired(
    spread: float, n: int, *, alpha: float = 0.05, power: float = 0.8, two_sided: bool = True
) -> float:
    """Smallest mean paired difference that n tasks detect with this power; arguments as above."""
    _check(alpha, power)
    if n < 1 or not (spread > 0.0 and math.isfinite(spread)):
        raise ValueError(f"n = {n}, spread = {spread!r}: n must be ≥ 1 and spread > 0")
    return (_z(alpha, two_sided) + normal_quantile(power)) * spread / math.sqrt(n)


def power_paired(
    spread: float, effect: float, n: int, *, alpha: float = 0.05, two_sided: bool = True
) -> float:
    """Probability that n tasks detect a mean paired difference, in its own direction."""
    _check(alpha)
    if n < 1 or not (spread > 0.0 and math.isfinite(spread)):
        raise ValueError(f"n = {n}, spread = {spread!r}: n must be ≥ 1 and spread > 0")
    return normal_cdf(abs(effect) * math.sqrt(n) / spread - _z(alpha, two_sided))


def paired_rate_spread(discordant: float, difference: float = 0.0) -> float:
    """Standard deviation of a paired 0/1 difference: √(share of discordant pairs − difference²).

    Connor (Biometrics 43, 1987).

    Raises:
        ValueError: discordant outside [|difference|, 1].
    """
    if not abs(difference) <= discordant <= 1.0:
        raise ValueError(f"discordant share {discordant!r} must lie between |{difference!r}| and 1")
    return math.sqrt(discordant - difference**2)


def wald_bound(bar: float, true: float, *, alpha: float = 0.05) -> float:
    """log(1/alpha) / KL(true ‖ bar): what Wald's test that *knows* `true` needs on average.

    Wald, "Sequential tests of statistical hypotheses" (Annals of Mathematical Statistics 16, 1945). No test
    that never errs more often than alpha has a smaller mean count.

    Raises:
        ValueError: bar or alpha out of range, or true equal to bar.
    """
    _check(alpha)
    _check_bar(bar)
    if not 0.0 <= true <= 1.0 or true == bar:
        raise ValueError(f"true is {true!r}; it must lie in [0, 1] and differ from the bar {bar!r}")
    divergence = sum(p * math.log(p / q) for p, q in ((true, bar), (1.0 - true, 1.0 - bar)) if p > 0.0)
    return -math.log(alpha) / divergence


def _z(alpha: float, two_sided: bool) -> float:
    return -normal_quantile(alpha / 2.0 if two_sided else alpha)


def _check(alpha: float, power: float | None = None) -> None:
    if not 0.0 < alpha < 1.0:
        raise ValueError(f"alpha is {alpha!r}; it must lie strictly between 0 and 1")
    if power is not None and not alpha < power < 1.0:
        raise ValueError(f"power is {power!r}; it must lie between alpha = {alpha!r} and 1")


def _check_bar(bar: float) -> None:
    if not 0.0 < bar < 1.0:
        raise ValueError(f"bar is {bar!r}; it must lie strictly between 0 and 1")
