"""The few distribution functions that the tests and intervals need, without scipy.

Beta quantiles are good to 1e-10 for counts up to 1e9, tail probabilities to 1e-10;
`tests/stats/test_distributions.py` compares them with scipy.
"""

from __future__ import annotations

import math
from functools import lru_cache
from statistics import NormalDist

_STANDARD_NORMAL = NormalDist()
_TINY = 1e-300
_EPSILON = 1e-16
_MAX_TERMS = 2_000_000
_MAX_STEPS = 200
_LARGE = 16.0


def normal_cdf(z: float) -> float:
    """Φ(z) of the standard normal; keeps its relative accuracy in the lower tail."""
    return 0.5 * math.erfc(-z / math.sqrt(2.0))


def normal_quantile(probability: float) -> float:
    """Φ⁻¹; −∞ at 0 and +∞ at 1.

    Raises:
        ValueError: probability outside [0, 1].
    """
    if probability in (0.0, 1.0):
        return math.inf if probability else -math.inf
    if not 0.0 < probability < 1.0:
        raise ValueError(f"probability is {probability!r}; it must lie in [0, 1]")
    return _STANDARD_NORMAL.inv_cdf(probability)


def two_sided_z(confidence: float) -> float:
    """Normal quantile of a two-sided interval: 1.96 for 0.95.

    Raises:
        ValueError: confidence outside (0, 1).
    """
    check_confidence(confidence)
    return -normal_quantile((1.0 - confidence) / 2.0)


def check_confidence(confidence: float) -> None:
    """Raise ValueError unless 0 < confidence < 1."""
    if not 0.0 < confidence < 1.0:
        raise ValueError(f"confidence is {confidence!r}; it must lie strictly between 0 and 1")


def beta_cdf(x: float, a: float, b: float) -> float:
    """Regularised incomplete beta function I_x(a, b), a and b > 0, x in [0, 1].

    Continued fraction of Didonato & Morris, "Significant digit computation of the incomplete beta function
    ratios" (ACM TOMS 18, 1992), in the form of DLMF 8.17.22, evaluated by Lentz's method on the side
    of the mean where it converges fast.
    """
    if x <= 0.0:
        return 0.0
    if x >= 1.0:
        return 1.0
    if x > (a + 1.0) / (a + b + 2.0):
        return 1.0 - _beta_tail(1.0 - x, b, a)
    return _beta_tail(x, a, b)


def beta_quantile(probability: float, a: float, b: float) -> float:
    """x with I_x(a, b) = probability, a and b > 0, to about 1e-14 absolute.

    Newton's method in x, held inside a bracket that bisection shrinks whenever a step would leave it.

    Raises:
        ValueError: probability outside [0, 1].
    """
    if not 0.0 <= probability <= 1.0:
        raise ValueError(f"probability is {probability!r}; it must lie in [0, 1]")
    if probability in (0.0, 1.0):
        return probability
    low, high = 0.0, 1.0
    mean = a / (a + b)
    spread = math.sqrt(mean * (1.0 - mean) / (a + b + 1.0))
    x = min(max(mean + normal_quantile(probability) * spread, mean * 1e-3), 1.0 - (1.0 - mean) * 1e-3)
    for _ in range(_MAX_STEPS):
        excess = beta_cdf(x, a, b) - probability
        if excess == 0.0:
            return x
        if excess > 0.0:
            high = x
        else:
            low = x
        density = math.exp(_log_power(x, a, b)) / (x * (1.0 - x))
        step = x - excess / density if density > _TINY else -1.0
        following = step if low < step < high else 0.5 * (low + high)
        if abs(following - x) <= 1e-15 * max(following, 1e-15):
            return following
        x = following
    return x


@lru_cache(maxsize=1024)
def student_t_quantile(probability: float, df: float) -> float:
    """Quantile of Student's t with df > 0 degrees of freedom, through the beta distribution."""
    if probability == 0.5:
        return 0.0
    tail = min(probability, 1.0 - probability)
    if tail > 0.05:  # t² / (df + t²) is small and keeps its digits; further out 1 − that does
        y = beta_quantile(1.0 - 2.0 * tail, 0.5, df / 2.0)
        magnitude = math.sqrt(df * y / (1.0 - y))
    else:
        x = beta_quantile(2.0 * tail, df / 2.0, 0.5)
        magnitude = math.sqrt(df * (1.0 - x) / x) if x > 0.0 else math.inf
    return magnitude if probability > 0.5 else -magnitude


def student_t_cdf(t: float, df: float) -> float:
    """P(T ≤ t) of Student's t with df > 0 degrees of freedom."""
    if math.isinf(t):
        return 1.0 if t > 0 else 0.0
    if t * t < df:
        tail = 0.5 - 0.5 * beta_cdf(t * t / (df + t * t), 0.5, df / 2.0)
    else:
        tail = 0.5 * beta_cdf(df / (df + t * t), df / 2.0, 0.5)
    return 1.0 - tail if t > 0 else tail


def binomial_cdf(k: int, n: int, p: float) -> float:
    """P(X ≤ k) for X ~ Binomial(n, p)."""
    if k < 0:
        return 0.0
    if k >= n:
        return 1.0
    return beta_cdf(1.0 - p, n - k, k + 1.0)


def binomial_sf(k: int, n: int, p: float) -> float:
    """P(X > k) for X ~ Binomial(n, p), accurate when it is small."""
    if k < 0:
        return 1.0
    if k >= n:
        return 0.0
    return beta_cdf(p, k + 1.0, n - k)


def _log_power(x: float, a: float, b: float) -> float:
    """log(x^a · (1 − x)^b / B(a, b)), 0 < x < 1.

    For large a and b its terms are as large as they are and nearly cancel; with Stirling's series what
    cancels is taken out beforehand.
    """
    if min(a, b) < _LARGE:
        return a * math.log(x) + b * math.log1p(-x) - _log_beta(max(a, b), min(a, b))
    total = a + b
    shift = x * b - (1.0 - x) * a  # how far x is above the mean, times a + b
    powers = a * _log_ratio(shift / a, x * total / a) + b * _log_ratio(-shift / b, (1.0 - x) * total / b)
    series = _stirling(a) + _stirling(b) - _stirling(total)
    return powers + 0.5 * math.log(a / total * b / (2.0 * math.pi)) - series


def _log_beta(large: float, small: float) -> float:
    if large < _LARGE:
        return math.lgamma(large) + math.lgamma(small) - math.lgamma(large + small)
    total = large + small
    ratio = (large - 0.5) * math.log1p(small / large) + small * math.log(total) - small
    return math.lgamma(small) - ratio + _stirling(large) - _stirling(total)


def _log_ratio(excess: float, ratio: float) -> float:
    """log(1 + excess), where `ratio` is 1 + excess with the digits that matter when it is far from 1."""
    return math.log1p(excess) if abs(excess) < 0.5 else math.log(ratio)


def _stirling(z: float) -> float:
    """log Γ(z) − (z − ½) log z + z − ½ log 2π for z ≥ 16, DLMF 5.11.1."""
    inverse = 1.0 / (z * z)
    series = inverse * (1 / 1260 - inverse * (1 / 1680 - inverse / 1188))
    return (1 / 12 - inverse * (1 / 360) + inverse * series) / z


def _beta_tail(x: float, a: float, b: float) -> float:
    """I_x(a, b) by continued fraction, for x below about the mean."""
    front = math.exp(_log_power(x, a, b)) / a
    c = 1.0
    d = 1.0 - (a + b) * x / (a + 1.0)
    d = 1.0 / (d if abs(d) > _TINY else _TINY)
    fraction = d
    for m in range(1, _MAX_TERMS):
        even = m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m))
        odd = -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1))
        for term in (even, odd):
            d = 1.0 + term * d
            d = 1.0 / (d if abs(d) > _TINY else _TINY)
            c = 1.0 + term / c
            c = c if abs(c) > _TINY else _TINY
            change = c * d
            fraction *= change
        if abs(change - 1.0) < _EPSILON:
            break
    return front * fraction
