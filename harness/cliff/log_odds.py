"""The three log-odds the cliff rests on, and their conversions; stable at any p and b.

With z = log(q / (1 − q)):

    fixed point of the extrapolated objective   z_λ = z_p + (λ − 1)·gap,     gap      = z_p − z_b
    edge of the clip-safe region                z_c = z_p + headroom,        headroom = log(1 + (c − 1)/p)
    they meet at                                λ*  = 1 + headroom / gap

The first line levels the advantage λ·log π_T − log π_S − (λ − 1)·log π_B on class and tail; the second sets
the tail mass 1 − q to (1 − p)/c. The third is Theorem 4.1 of Li et al., arXiv 2605.08737, rearranged: the gap
is the only difference of nearly equal numbers left in it.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from harness.cliff.domain import FloatArray


def log_odds(p: npt.ArrayLike) -> FloatArray:
    """Log-odds of a probability; −inf at 0, +inf at 1."""
    p = np.asarray(p, dtype=np.float64)
    with np.errstate(divide="ignore"):
        return np.asarray(np.log(p) - np.log1p(-p))


def log_odds_from_log_tail(log_tail: npt.ArrayLike) -> FloatArray:
    """Log-odds of the mass whose complement has this log (≤ 0)."""
    log_tail = np.asarray(log_tail, dtype=np.float64)
    with np.errstate(divide="ignore"):
        return np.asarray(np.log(-np.expm1(log_tail)) - log_tail)


def probability(logit: npt.ArrayLike) -> FloatArray:
    """Probability with these log-odds."""
    return np.asarray(np.exp(log_mass(logit)))


def log_mass(logit: npt.ArrayLike) -> FloatArray:
    """Log of the probability with these log-odds."""
    with np.errstate(invalid="ignore"):
        return np.asarray(-np.logaddexp(0.0, -np.asarray(logit, dtype=np.float64)))


def log_tail(logit: npt.ArrayLike) -> FloatArray:
    """Log of one minus the probability with these log-odds."""
    return log_mass(-np.asarray(logit, dtype=np.float64))


def log_odds_gap(p: FloatArray, b: FloatArray) -> FloatArray:
    """Difference logit p − logit b of two floats, as a sum of two terms of one sign."""
    difference = p - b
    with np.errstate(all="ignore"):
        tail_ratio = np.where(
            np.abs(difference) <= 0.5 * (1.0 - p),
            np.log1p(difference / (1.0 - p)),
            np.log1p(-b) - np.log1p(-p),
        )
        return np.asarray(log_ratio(p, b, difference) + tail_ratio)


def log_odds_gap_from_log_tails(log_tail_p: FloatArray, log_tail_b: FloatArray) -> FloatArray:
    """Difference logit p − logit b of two masses whose complements have these logs (≤ 0)."""
    with np.errstate(all="ignore"):
        # log of tail ratio + log of mass ratio, and p − b without subtracting p and b.
        difference = np.exp(log_tail_p) * np.expm1(log_tail_b - log_tail_p)
        mass_ratio = log_ratio(-np.expm1(log_tail_p), -np.expm1(log_tail_b), difference)
        return np.asarray((log_tail_b - log_tail_p) + mass_ratio)


def clip_headroom(logit_p: npt.ArrayLike, log_c: npt.ArrayLike) -> FloatArray:
    """Distance in log-odds from p to the edge of the clip-safe region, log(1 + (c − 1)/p).

    Args:
        logit_p: teacher's log-odds.
        log_c: log of the clip strength, ≥ 0.
    """
    z, lc = np.broadcast_arrays(np.asarray(logit_p, np.float64), np.asarray(log_c, np.float64))
    with np.errstate(over="ignore", divide="ignore", invalid="ignore"):
        moderate = np.log1p(np.expm1(lc) * (1.0 + np.exp(-z)))
        # Beyond float range of exp: log(c + (c − 1)·e^(−z)), both terms kept as logs.
        extreme = np.logaddexp(lc, lc + np.log(-np.expm1(-lc)) - z)
    return np.asarray(np.where((lc < 30.0) & (z > -30.0), moderate, extreme))


def reciprocal_excess(logit_p: npt.ArrayLike, logit_b: npt.ArrayLike, log_c: npt.ArrayLike) -> FloatArray:
    """κ = gap/headroom = 1/(λ* − 1); −inf at p = 0, and ≤ 0 where p ≤ b."""
    z_p, z_b = np.asarray(logit_p, np.float64), np.asarray(logit_b, np.float64)
    with np.errstate(invalid="ignore"):
        return np.asarray(np.where(np.isneginf(z_p), -np.inf, (z_p - z_b) / clip_headroom(z_p, log_c)))


def threshold_from_reciprocal_excess(kappa: npt.ArrayLike) -> FloatArray:
    """λ* = 1 + 1/κ; +inf for κ ≤ 0, which is p ≤ b."""
    kappa = np.asarray(kappa, dtype=np.float64)
    with np.errstate(divide="ignore"):
        return np.asarray(np.where(kappa <= 0.0, np.inf, 1.0 + 1.0 / kappa))


def log_ratio(x: FloatArray, y: FloatArray, difference: FloatArray) -> FloatArray:
    """log(x / y), without cancellation where x and y are close; `difference` is x − y."""
    near = np.abs(difference) <= 0.5 * y
    return np.where(near, np.log1p(difference / np.where(near, y, 1.0)), np.log(x) - np.log(y))
