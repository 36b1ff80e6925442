"""The few distribution functions that the tests and intervals need: names and ranges for `scipy.special`.

SciPy loads at the first call that needs it: a gate without such a rule doesn't wait for it. Normal quantiles
are the standard library's.
"""

from __future__ import annotations

import math
from statistics import NormalDist

_STANDARD_NORMAL = NormalDist()


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
    """Regularised incomplete beta function I_x(a, b), a and b > 0, x in [0, 1]."""
    from scipy.special import betainc

    return float(betainc(a, b, x))


def beta_quantile(probability: float, a: float, b: float) -> float:
    """x with I_x(a, b) = probability, a and b > 0.

    Raises:
        ValueError: probability outside [0, 1].
    """
    if not 0.0 <= probability <= 1.0:
        raise ValueError(f"probability is {probability!r}; it must lie in [0, 1]")
    from scipy.special import betaincinv

    return float(betaincinv(a, b, probability))


def student_t_quantile(probability: float, df: float) -> float:
    """Quantile of Student's t with df > 0 degrees of freedom.

    Through the beta distribution: up to SciPy 1.15 `stdtrit` is good to 1e-8 only.
    """
    from scipy.special import betainccinv, betaincinv

    tails = 2.0 * min(probability, 1.0 - probability)
    # t²/(df + t²) and df/(df + t²), each with its own digits.
    near, far = betainccinv(0.5, 0.5 * df, tails), betaincinv(0.5 * df, 0.5, tails)
    return math.copysign(math.sqrt(df * near / far), probability - 0.5)


def student_t_cdf(t: float, df: float) -> float:
    """P(T ≤ t) of Student's t with df > 0 degrees of freedom; its lower tail keeps its relative accuracy."""
    from scipy.special import stdtr

    return float(stdtr(df, t))


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
