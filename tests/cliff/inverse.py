"""λ* by log-odds, solved for c and for p, and the clip-safe region: oracles of the closed form."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from harness.cliff.domain import CLIP_RANGE, BoolArray, FloatArray, require, scalar_or_array
from harness.cliff.log_odds import clip_headroom, log_odds, log_odds_gap, probability
from harness.cliff.threshold import thresholds_from_log_tails

_NEWTON_STEPS = 100


def log_tail_mass(logit: npt.ArrayLike) -> FloatArray:
    """Log of one minus the probability with these log-odds."""
    with np.errstate(invalid="ignore"):
        return np.asarray(-np.logaddexp(0.0, np.asarray(logit, dtype=np.float64)))


def lambda_star_from_log_odds(
    logit_p: npt.ArrayLike, logit_b: npt.ArrayLike, log_c: npt.ArrayLike
) -> float | FloatArray:
    """λ* from log-odds and log c."""
    return scalar_or_array(
        thresholds_from_log_tails(log_tail_mass(logit_p), log_tail_mass(logit_b), log_c).value
    )


def fixed_point_log_odds(lam: npt.ArrayLike, logit_p: npt.ArrayLike, logit_b: npt.ArrayLike) -> FloatArray:
    """Log-odds of the fixed point, z_p + (λ − 1)·(z_p − z_b)."""
    lam, zp, zb = (np.asarray(x, dtype=np.float64) for x in (lam, logit_p, logit_b))
    return np.asarray(zp + (lam - 1.0) * (zp - zb))


def clip_for(lam: npt.ArrayLike, p: npt.ArrayLike, b: npt.ArrayLike) -> float | FloatArray:
    """The clip strength at which λ* equals `lam`: c = 1 + p·(e^((λ − 1)·gap) − 1).

    Args:
        lam: λ ≥ 1, finite.
        p: teacher's class mass, in (b, 1).
        b: base's class mass, in (0, 1).

    Raises:
        CliffDomainError: an argument outside its range.
    """
    lam, p, b = (np.asarray(x, dtype=np.float64) for x in (lam, p, b))
    require(np.isfinite(lam) & (lam >= 1), "λ* is never below 1: λ must be finite and at least 1")
    require((b > 0) & (b < p) & (p < 1), "0 < b < p < 1 is needed: for p ≤ b every clip is safe")
    with np.errstate(over="ignore"):
        c = np.asarray(1.0 + p * np.expm1((lam - 1.0) * log_odds_gap(p, b)))
    require(np.isfinite(c), "λ is so large that no finite clip strength gives it")
    return scalar_or_array(c)


def teacher_mass_for(lam: npt.ArrayLike, b: npt.ArrayLike, c: npt.ArrayLike) -> float | FloatArray:
    """The teacher's class mass p at which λ* equals `lam`; b in (0, 1), c > 1."""
    b, c = np.asarray(b, np.float64), np.asarray(c, np.float64)
    require((b > 0) & (b < 1), "b must lie inside (0, 1)")
    require(np.isfinite(c) & (c > 1), "the clip strength c must be finite and above 1")
    return scalar_or_array(probability(teacher_log_odds_for(lam, log_odds(b), np.log(c))))


def teacher_log_odds_for(
    lam: npt.ArrayLike, logit_b: npt.ArrayLike, log_c: npt.ArrayLike
) -> float | FloatArray:
    """The teacher's log-odds at which λ* equals `lam`; unique, since λ* falls as p rises.

    Args:
        lam: λ > 1, finite.
        logit_b: base's log-odds, finite.
        log_c: log of the clip strength, finite, > 0.

    Raises:
        CliffDomainError: an argument outside its range.
    """
    lam, zb, lc = np.broadcast_arrays(*(np.asarray(x, dtype=np.float64) for x in (lam, logit_b, log_c)))
    require(np.isfinite(lam) & (lam > 1), "λ must be finite and above 1")
    require(np.isfinite(zb), "the log-odds of b must be finite")
    require(np.isfinite(lc) & (lc > 0), "the clip strength c must be finite and above 1")
    # (λ − 1)·gap − headroom is concave and increasing in the gap, so Newton from 0 climbs to the root.
    gap = np.zeros_like(lam)
    for _ in range(_NEWTON_STEPS):
        headroom = clip_headroom(zb + gap, lc)
        # −d headroom / d z = (c − 1)(1 − p) / (c − 1 + p) = 1 − exp(log c − headroom)
        slope = (lam - 1.0) - np.expm1(lc - headroom)
        step = (headroom - (lam - 1.0) * gap) / slope
        gap = gap + step
        if np.all(np.abs(step) <= 4e-16 * np.abs(gap)):
            break
    return scalar_or_array(zb + gap)


def clip_boundary_log_odds(logit_p: npt.ArrayLike, log_c: npt.ArrayLike) -> float | FloatArray:
    """Log-odds at the edge of the clip-safe region, where the tail mass is (1 − p)/c.

    Args:
        logit_p: teacher's log-odds, finite.
        log_c: log of the clip strength, finite, ≥ 0.

    Raises:
        CliffDomainError: an argument outside its range.
    """
    zp, lc = np.asarray(logit_p, np.float64), np.asarray(log_c, np.float64)
    require(np.isfinite(zp), "the log-odds of p must be finite")
    require(np.isfinite(lc) & (lc >= 0), CLIP_RANGE)
    return scalar_or_array(zp + clip_headroom(zp, lc))


def clip_safe(log_tail_q: npt.ArrayLike, log_tail_p: npt.ArrayLike, log_c: npt.ArrayLike) -> BoolArray:
    """Whether a policy lies in the clip-safe region, 1 − q ≥ (1 − p)/c.

    Args:
        log_tail_q: log tail mass of the policy, ≤ 0.
        log_tail_p: log tail mass of the teacher, ≤ 0.
        log_c: log of the clip strength, ≥ 0.

    Raises:
        CliffDomainError: an argument that is NaN or outside its range.
    """
    tq, tp, lc = (np.asarray(x, dtype=np.float64) for x in (log_tail_q, log_tail_p, log_c))
    require((tq <= 0) & (tp <= 0), "log tail masses must be at most 0")
    require(lc >= 0, CLIP_RANGE)
    return np.asarray(tq >= tp - lc)


def reciprocal_excess(logit_p: npt.ArrayLike, logit_b: npt.ArrayLike, log_c: npt.ArrayLike) -> FloatArray:
    """κ = 1/(λ* − 1) = gap / headroom: finite and smooth through p = b, where λ* runs to +inf.

    Nearly linear in the log tail masses, which is why intervals are made for κ and then carried over to λ*.

    Args:
        logit_p: teacher's log-odds.
        logit_b: base's log-odds.
        log_c: log of the clip strength, > 0.
    """
    gap = np.asarray(logit_p, np.float64) - np.asarray(logit_b, np.float64)
    return np.asarray(gap / clip_headroom(logit_p, log_c))
